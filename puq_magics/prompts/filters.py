"""Names of the filters, in a module of their own so that completion does not import Jinja2."""

from __future__ import annotations

#: Jinja2's filters that are available; those that write HTML, are random, or evade the limits are left out.
_JINJA_NAMES = """
abs capitalize count d default dictsort first float indent int items join last length list lower map max min
reject rejectattr replace reverse round select selectattr sort string sum title trim truncate unique upper
wordcount wordwrap
"""
JINJA_FILTERS = frozenset(_JINJA_NAMES.split())
#: The filters of this package, methods of `ValueRenderer`.
PUQ_FILTERS = ("full", "head", "image", "json", "md", "schema")
