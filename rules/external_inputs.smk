"""External sets: what their rules take inputs and options from."""

EXTERNAL = config["external"]["sets"]
EXTERNAL_DATA = "results/data/external"


def by_set(path):
    """{set: a path with its name in place of {}}."""
    return {name: path.format(name) for name in EXTERNAL}


def external_sources(wildcards):
    """{name: where it is} of a set's sources: folders in their place, files once fetched."""
    return {
        source["name"]: (
            source["local"]
            if "local" in source and is_folder_there(source["local"])
            else f"results/downloads/{external_dataset(wildcards.set)}/{source['name']}"
        )
        for source in EXTERNAL[wildcards.set]["sources"]
    }


def is_folder_there(path):
    """Whether a local source is a folder, or will be one that is drawn."""
    return is_folder(path) if is_phantom(path) else Path(path).is_dir()


def external_settings(wildcards):
    """Options of list_external: what the words of a set and the columns of its table mean."""
    given = EXTERNAL[wildcards.set]
    table = given.get("table", {})
    only = {
        column: [words] if isinstance(words, str) else words
        for column, words in table.get("only", {}).items()
    }
    return options(
        {
            "sources": external_sources(wildcards),
            "trees": {
                source["name"]: source["git_tree"]
                for source in given["sources"]
                if "git_tree" in source
            },
            "classes": json.dumps(given["classes"], sort_keys=True),
            "table": table.get("file"),
            **{
                f"{name}_column": table.get(name)
                for name in ("image", "class", "patient")
            },
            "only": [
                f"{column}={word}" for column, words in only.items() for word in words
            ],
            "encoding": table.get("encoding"),
        }
    )


def external_known():
    """Images that nets have learnt from or were tested on: arrays, and their tables."""
    arrays = [*(f"{COVID19}/{name}.npy" for name in UNEDITED), *archives()]
    return {"known": arrays, "known_tables": tables_of(arrays)}


def external_boxes():
    """{set: its table of words}, where it has one."""
    return {
        name: given.get("text_boxes")
        for name, given in EXTERNAL.items()
        if given.get("text_boxes") not in (None, "found")
    }
