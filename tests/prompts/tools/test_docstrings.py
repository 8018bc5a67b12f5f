from __future__ import annotations

import pytest

from puq_magics.prompts.tools.docstrings import Docstring, ParameterText

GOOGLE = """Return the weather.

    It is of today.

    Args:
        city (str): Name of
            the city: with a colon.
        unit: The unit.
        **more: Others.

    Returns:
        x: the degrees.
"""
NUMPY = """Return the weather.

    It is of today.

    Parameters
    ----------
    city : str
        Name of
        the city: with a colon.
    unit
        The unit.
    more : {'a', 'b'}, optional
        Others.

    Returns
    -------
    int
        The degrees.
"""


@pytest.mark.parametrize(
    ("text", "types"), [(GOOGLE, ("str", "", "")), (NUMPY, ("str", "", "{'a', 'b'}, optional"))]
)
def test_styles(text: str, types: tuple[str, ...]) -> None:
    docstring = Docstring.parse(text)
    assert docstring.description == "Return the weather.\n\nIt is of today."
    texts = ("Name of the city: with a colon.", "The unit.", "Others.")
    assert docstring.parameters == {
        name: ParameterText(said, kind)
        for name, said, kind in zip(("city", "unit", "more"), texts, types, strict=True)
    }


@pytest.mark.parametrize(
    "text", ["", "One line.", "Args are not:\n  a section", "Note\n----", "Args:", "Args:\n\n"]
)
def test_texts_without_parameters(text: str) -> None:
    assert Docstring.parse(text).parameters == {}
