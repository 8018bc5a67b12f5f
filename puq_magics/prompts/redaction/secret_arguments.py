"""Secrets in command lines and in calls, where no name stands beside them."""

from __future__ import annotations

import re
from typing import Final

#: ``sshpass -p …``, ``redis-cli -a …``, ``mysql -p…``, ``docker login -p …``: also as a list of arguments.
SHORT_OPTION = re.compile(
    r"""(?:\b(?:sshpass|(?:docker|podman|az)[ ]+login|mysql\w*|mariadb\w*|redis-cli|ldap\w+|sqlcmd|mongo\w*"""
    r"""|twine|7z\w?)\b[^\n;|&]{0,200}?(?<=[\s"'])-[paw]|\b(?:un)?zip[ ][^\n;|&]{0,200}?(?<=[\s"'])-P"""
    r"""|\bcurl[ ][^\n;|]{0,200}?(?<=[\s"'])-b[ ]?["']?[\w-]{1,40}=)"""
    r"""(?:["'],[ ]?|[ ]+)?["']?(?P<value>[^\s"',\]\-][^\s"',\];]{3,})"""
)
#: ``echo … | sudo -S``, ``echo … | docker login --password-stdin``
ECHOED = re.compile(
    r"""\becho[ ]+(?:-n[ ]+)?["']?(?P<value>[^\s"'|$<][^\s"'|]{3,200})["']?[ ]*\|"""
    r"""[^\n|]{0,100}(?:sudo[ ]+-S|--?(?:password-)?stdin|chpasswd)"""
)
#: ``IDENTIFIED BY '…'``, ``WITH PASSWORD '…'``
SQL_PASSWORD = re.compile(
    r"""(?i:\bidentified\s{1,9}by|\bwith\s{1,9}(?:\w{1,20}\s{1,9})?password)\s{1,9}(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
#: ``token = os.getenv("X") or "…"``, ``… if test else "…"``, ``str("…")``
FALLBACK = re.compile(
    r"""(?<![\w-])(?P<name>(?!key\b)[^\W\d][\w-]{0,60})["']?\]?[ ]?=(?!=|[ ]?lambda)[ ]?"""
    r"""(?:[^\n]{0,200}?\b(?:or|else)[ ]|(?:str|bytes|\w{0,20}Secret\w{0,20})\()[ ]?[rb]?(?P<quote>["'])"""
    r"""(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
#: ``aws configure set aws_secret_access_key …``, ``gh secret set NAME …``
SET_COMMAND = re.compile(
    r"""\b(?:configure|config|secrets?)[ ]+set[ ]+(?P<name>[A-Za-z][\w.-]{0,60})(?:[ ]+(?:--body[ ]+)?|=)["']?"""
    r"""(?P<value>(?![-<{$%])[^\s"']{4,})"""
)
#: A call with arguments on one line, and the strings in them.
CALL = re.compile(r"(?<![\w.])(?P<function>[^\W\d][\w.]{0,80})\((?P<arguments>[^()\n]{1,300})\)")
STRING_ARGUMENT = re.compile(
    r"""(?<![\w\])])(?P<name>\w+[ ]?=[ ]?)?[rbu]{0,2}"""
    r"""(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote))[^\\\n])+)(?P=quote)"""
)
#: ``user, password = "ada", "…"``
TUPLE_ASSIGNMENT = re.compile(
    r"^(?P<before>[ \t]*\(?(?P<names>[^\W\d]\w{0,60}(?:[ ]?,[ ]?[^\W\d]\w{0,60}){1,9})\)?[ ]?=[ ]?\(?)"
    r"(?P<values>[^\n]{3,500})",
    re.MULTILINE,
)
#: Functions that take a name and a password, and such whose first string is a key.
_LOGINS: Final = frozenset(
    ("login", "log_in", "signin", "sign_in", "authenticate", "basicauth", "httpdigestauth", "httpproxyauth")
)
_KEYED: Final = frozenset(
    ("hmac.new", "jwt.encode", "jwt.decode", "fernet", "fernet.fernet", "hashlib.scrypt")
)


def find_secret_argument(function: str, arguments: list[str], *, named: bool) -> int | None:
    """Return which of a call's string arguments is a secret; None if none is.

    ``named`` says that the function's name is that of a secret, as in ``set_token``.
    """
    full, last = function.lower(), function.lower().rpartition(".")[2]
    if not arguments:
        return None
    if full in _KEYED:
        return 0
    value = arguments[-1]
    if last == "connect":  # host, user, password
        return 2 if len(arguments) > 2 else None
    if last in _LOGINS:
        return None if "@" in value or (len(arguments) == 1 and not _has_digit(value)) else len(arguments) - 1
    return len(arguments) - 1 if named and _has_digit(value) and not re.search(r"[\s@/]", value) else None


def _has_digit(value: str) -> bool:
    return any(sign.isdigit() for sign in value)
