"""Write a page of all test images of a net, with decisions, probabilities and heatmaps.

The page opens from disk, without a server. Its pictures, in the folder --pictures: each image
with its words covered and not, and the relevance of every class by both methods (of the edited
image, in PyTorch), to be laid over it. Image names and numbers are in the page as JSON. InputError
if the predictions are of other images, in another order or of other classes.
"""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cxr.arrays import open_images
from cxr.devices import take_device
from cxr.files import write_whole
from cxr.heatmaps import colour_limit
from cxr.logs import InputError, parser, progress, user_errors
from cxr.lrp import METHODS, relevance_maps
from cxr.metrics import final_predictions, read_predictions
from cxr.nets import load_net
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Test images</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 0; color: #222 }
header { padding: 0.8em 1em; max-width: 60em }
form { background: #fff; border-bottom: 1px solid #ccc;
  padding: 0.5em 1em; display: flex; flex-wrap: wrap; gap: 0.4em 1.2em; align-items: center }
@media (min-width: 50em) { form { position: sticky; top: 0; z-index: 1 } }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); gap: 1em;
  padding: 1em }
article { border: 1px solid #ccc; padding: 0.6em }
article[data-error="true"] { border: 2px solid #b00 }
figure { position: relative; margin: 0; background: #000 }
figure img { width: 100%; display: block }
figure img + img { position: absolute; inset: 0 }
h2 { font-size: 1em; margin: 0.4em 0; overflow-wrap: anywhere }
p { margin: 0.2em 0 }
.wrong { color: #b00; font-weight: bold }
td, th { padding: 0 0.6em 0 0; font-weight: normal; text-align: left }
th { white-space: nowrap }
meter { width: 5em }
</style>
<header>
<h1>Test images</h1>
<p><strong>Research only. Not a medical device.</strong> Red speaks for the class, blue against
it. Read the conserving heatmaps: the others, as iNNvestigate ships the method, hardly depend on
what the net has learnt. Heatmaps are of the images with their words covered.</p>
</header>
<form>
<label>Images <select id="version"><option value="edited">words covered</option>
<option value="unedited">as they are</option></select></label>
<label>Heatmap of <select id="output"><option value="decision">the decision</option></select>
</label>
<label>by <select id="method"></select></label>
<label><input type="checkbox" id="heatmap" checked> show it</label>
<label>Class <select id="class"><option value="">all</option></select></label>
<label><input type="checkbox" id="errors"> errors alone</label>
<output id="count"></output>
<output id="note"></output>
</form>
<main></main>
<script type="application/json" id="data">DATA</script>
<script>
const data = JSON.parse(document.getElementById("data").textContent);
const control = name => document.getElementById(name);
const words = name => name.replaceAll("_", " ");
document.title = document.querySelector("h1").textContent = `Test images of ${data.net}`;
for (const list of ["output", "class"])
  for (const name of data.classes) control(list).add(new Option(words(name), name));
for (const name of data.methods) control("method").add(new Option(words(name), name));
control("method").value = data.methods.at(-1);

function element(name, text, parent, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  made.textContent = text;
  parent.append(made);
  return made;
}

function card(image, number) {
  const version = control("version").value, found = image[version];
  const article = element("article", "", document.querySelector("main"));
  const error = found.predicted !== image.class;
  Object.assign(article.dataset, { class: image.class, predicted: found.predicted, error });
  const figure = element("figure", "", article);
  const picture = name => element("img", "", figure,
    { loading: "lazy", src: `${data.pictures}/${number}_${name}.png` });
  picture(version).alt = image.image;
  if (control("heatmap").checked && version === "edited") {
    const output = control("output").value;
    const shown = output === "decision" ? found.predicted : output;
    picture(`${control("method").value}_${shown}`).alt = `relevance for ${words(shown)}`;
  }
  element("h2", image.image, article);
  const decision = `is ${words(image.class)}, called ${words(found.predicted)}`;
  element("p", error ? `Wrong: ${decision}` : decision, article,
    { className: error ? "wrong" : "" });
  const table = element("table", "", article);
  data.classes.forEach((name, place) => {
    const row = element("tr", "", table);
    element("th", words(name), row, { scope: "row" });
    element("meter", "", element("td", "", row), {
      value: found.sigmoids[place], ariaLabel: `sigmoid of ${words(name)}` });
    element("td", found.sigmoids[place].toFixed(4), row);
  });
}

function draw() {
  document.querySelector("main").replaceChildren();
  const shown = data.images.map((image, number) => [image, number]).filter(([image]) =>
    (!control("class").value || image.class === control("class").value) &&
    (!control("errors").checked ||
      image[control("version").value].predicted !== image.class));
  shown.forEach(([image, number]) => card(image, number));
  control("note").textContent = control("version").value === "edited" ? "" :
    "No heatmaps here: they are of the images with their words covered.";
  control("count").textContent = `${shown.length} of ${data.images.length} images`;
}

document.querySelector("form").addEventListener("change", draw);
draw();
</script>
</html>
"""


def write_gallery(net, edited, unedited, predictions, out, pictures):
    table = read_predictions(predictions)
    opened, decided = {}, []
    for version, path in (("edited", edited), ("unedited", unedited)):
        opened[version], images = open_images(path)
        rows = final_predictions(table, version)
        if not np.array_equal(rows[["image", "class"]], images[["image", "class"]]):
            raise InputError(f"{predictions}: other {version} images or classes than {path}")
        decided.append(rows.to_dict("records"))
    if [row["image"] for row in decided[0]] != [row["image"] for row in decided[1]]:
        raise InputError(f"{unedited}: other images than {edited}, or in another order")
    loaded, description = load_net(net)
    classes = description["outputs"]
    with whole_folder(pictures) as folder:
        for version, pixels in opened.items():
            for number, square in enumerate(progress(pixels, version)):
                Image.fromarray(square).save(folder / f"{number}_{version}.png")
        draw_relevance(loaded, opened["edited"], classes, folder)
    data = {
        "net": out.parent.name,
        "classes": classes,
        "methods": list(METHODS),
        "pictures": os.path.relpath(pictures, out.parent),
        "images": [
            {"image": one["image"], "class": one["class"]}
            | {
                version: {
                    "predicted": row["predicted"],
                    "sigmoids": [round(row[name], 6) for name in classes],
                }
                for version, row in (("edited", one), ("unedited", other))
            }
            for one, other in zip(*decided, strict=True)
        ],
    }
    text = json.dumps(data, indent=0).replace("<", "\\u003c")
    write_whole(out, PAGE.replace("DATA", text))


@contextmanager
def whole_folder(path):
    """An empty folder to write to that replaces `path` when the block ends well."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(path, ignore_errors=True)
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def draw_relevance(net, pixels, classes, folder):
    """A PNG for each image, method and class, the more transparent the weaker the relevance."""
    device = take_device()
    for method in METHODS:
        for number, name in enumerate(classes):
            maps, _ = relevance_maps(net, pixels, np.full(len(pixels), number), method, device)
            for place, relevance in enumerate(progress(maps, f"{method}, {name}")):
                limit = colour_limit(relevance)
                scale = ScalarMappable(Normalize(-limit, limit), cmap="bwr")
                colours = scale.to_rgba(relevance, bytes=True)
                colours[..., 3] = 255 * np.clip(np.abs(relevance) / limit, 0, 1)
                Image.fromarray(colours).save(folder / f"{place}_{method}_{name}.png")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    arguments.add_argument("--edited", type=Path, required=True, help="test images (.npy)")
    arguments.add_argument("--unedited", type=Path, required=True, help="test images (.npy)")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--out", type=Path, required=True, help="HTML to write")
    arguments.add_argument("--pictures", type=Path, required=True, help="folder to write")
    with user_errors():
        write_gallery(**vars(arguments.parse_args()))
