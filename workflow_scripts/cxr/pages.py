"""Pages of HTML: templates in report/, each filled to one file that opens from disk."""

from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError

from cxr.cli import InputError
from cxr.files import write_file

REPORT = Path(__file__).parents[2] / "report"


def add_page(arguments, name):
    """Add the options --page and --style: by default NAME and style.css of report/."""
    arguments.add_argument("--page", type=Path, default=REPORT / name, help="Jinja template")
    arguments.add_argument("--style", type=Path, default=REPORT / "style.css", help="CSS")


def write_page(out, page, style, **values):
    """Write a Jinja template, filled with the content of a style sheet and with values, as UTF-8.

    Values are escaped. InputError if the page is no template, or names a value that isn't given.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    css = style.read_text(encoding="utf-8")
    try:
        template = environment.from_string(page.read_text(encoding="utf-8"))
        text = template.render(style=css, **values)
    except TemplateError as error:
        raise InputError(f"{page}: {error}; expected a Jinja template as in report/") from error
    write_file(out, text.encode())
