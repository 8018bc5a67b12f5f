"""The names of the filters: apart from what they do, for Tab wants them without Jinja2."""

from __future__ import annotations

#: Jinja2's filters that are kept. Left out: those that write HTML, those that draw lots, and those that get
#: around the notes on what was cut.
_JINJA_NAMES = """
abs capitalize count d default dictsort first float indent int items join last length list lower map max min
reject rejectattr replace reverse round select selectattr sort string sum title trim truncate unique upper
wordcount wordwrap
"""
JINJA_FILTERS = frozenset(_JINJA_NAMES.split())
#: The filters of this package, methods of `Renderer`.
PUQ_FILTERS = ("full", "head", "image", "json", "md", "schema")
