"""Formats of the tokens of well-known services, and of other secrets that have no name beside them."""

from __future__ import annotations

import re
from typing import Final

# By the prefix that each service gives its tokens.
_PREFIXED = r"""
(?:sk|pk|rk)[-_][A-Za-z0-9_-]{8,}  gh[pousr]_[A-Za-z0-9]{16,}  github_pat_\w{20,}  gl[a-z]{2,8}-[\w-]{12,}
GR1348941[\w-]{20,}  hf_[A-Za-z0-9]{16,}  api_org_[A-Za-z]{20,}  xox[a-z]-[\w-]{10,}  xapp-[\w-]{10,}
A[KS]IA[A-Z0-9]{12,}  AIza[\w-]{30,}  ya29\.[\w-]{20,}  GOCSPX-[\w-]{20,}  whsec_[A-Za-z0-9+/=]{16,}
SG\.[\w-]{16,}\.[\w-]{16,}  SK[0-9a-f]{32}  key-[0-9a-f]{32}  [0-9a-f]{32}-us\d{1,2}  npm_[A-Za-z0-9]{20,}
pypi-[\w-]{20,}  dckr_[a-z]{3}_[\w-]{16,}  rubygems_[0-9a-f]{24,}  shp(?:at|ca|pa|ss)_[0-9a-fA-F]{24,}
sq0[a-z]{3}-[\w-]{16,}  EAA[A-Za-z0-9]{30,}  do[opr]_v1_[0-9a-f]{24,}  dapi[0-9a-f]{24,}(?:-\d)?
hv[bsr]\.[\w-]{20,}  [A-Za-z0-9]{14}\.atlasv1\.[\w-]{30,}  lin_(?:api|oauth)_[A-Za-z0-9]{16,}
(?:ntn|secret)_[A-Za-z0-9]{24,}  pat[A-Za-z0-9]{14}\.[0-9a-f]{32,}  fig[dour]_[\w-]{16,}  PMAK-[0-9a-f-]{24,}
gl(?:c|sa)_[\w+/=-]{20,}  NR(?:AK|JS|II|RA)-[\w-]{16,}  sntry[su]_[\w+/=.-]{20,}  pscale_[a-z]{2,6}_[\w.-]{16,}
dp\.[a-z]{2,6}\.[\w.-]{16,}  dt0[a-z]\d{2}\.[A-Z0-9]{24}\.[A-Z0-9]{32,}  HRKU-[\w-]{16,}  pplx-[A-Za-z0-9]{20,}
gsk_[A-Za-z0-9]{20,}  xai-[A-Za-z0-9]{20,}  r8_[A-Za-z0-9]{20,}  fw_[A-Za-z0-9]{16,}  tvly-[\w-]{16,}
nvapi-[\w-]{20,}  ATATT3[\w=-]{20,}  ATBB[A-Za-z0-9]{16,}  sbp_[0-9a-f]{24,}  nfp_[A-Za-z0-9]{20,}
pul-[0-9a-f]{24,}  pn[ub]_[A-Za-z0-9]{20,}  rdme_[a-z0-9]{30,}  xkeysib-[\w-]{30,}  lsv2_[a-z]{2}_[\w-]{20,}
shippo_(?:live|test)_[0-9a-f]{20,}  EZ[AT]K[a-zA-Z0-9]{20,}  AGE-SECRET-KEY-1[A-Z0-9]{20,}  \d{8,10}:AA[\w-]{30,}
CFPAT-[\w-]{20,}  flb_[a-z]{2,8}_[\w-]{20,}  fo1_[\w-]{20,}  tskey-[\w-]{16,}  sgp_[\w-]{20,}  ops_eyJ[\w+/=]{20,}
"""

#: Tokens of services, Bearer headers, JSON Web Tokens, passwords and signatures in URLs, webhooks.
TOKEN_FORMATS = re.compile(
    rf"(?<![\w-])(?:{'|'.join(_PREFIXED.split())})"
    r"|(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"
    r"|(?<=[Bb]earer )[^\s\"'<>]{8,}|(?<=://)[^\s/@:\"'<>]*:(?!\d{1,5}/)[^\s\"'<>]{1,200}(?=@)"
    r"|(?<=[?&]sig=)[\w%+/=-]{16,}|(?<=[?&]X-Amz-Signature=)[0-9a-f]{32,}"
    r"|(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[\w/-]{16,}"
    r"|(?<=/api/webhooks/)\d{10,}/[\w-]{20,}"
    r"|(?<=\.webhook\.office\.com/)webhook\w*/[\w@/-]{20,}|(?<=\.logic\.azure\.com)[:\d]*/workflows/[\w/-]{16,}"
    r"|(?<=hooks\.zapier\.com/hooks/catch/)[\w/]{8,}|(?<=maker\.ifttt\.com/trigger/)[\w/-]{16,}"
    r"|(?<=/private-)[0-9a-f]{16,}|(?<=/owa/calendar/)[\w@./-]{16,}"
    r"|(?<=chat\.googleapis\.com/v1/spaces/)[\w/-]{8,}"
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
)

# Names of passwords in several languages.
_PROSE_WORDS = r"""
password passwd passphrase passcode pwd api\Wkey access\Wtoken secret\Wkey passwort kennwort contraseña clave senha
palavra-passe mot\Wde\Wpasse wachtwoord heslo hasło parola lösenord adgangskode passord salasana jelszó şifre пароль
пароля паролем гасло парола лозинка lozinka zaporka kata\Wsandi κωδικός סיסמה كلمة\Wالمرور كلمة\Wالسر رمز\Wعبور
گذرواژه 密码 密碼 口令 パスワード 暗証番号 비밀번호 암호 पासवर्ड mật\Wkhẩu รหัสผ่าน
"""
#: The same as names in code, without hyphens and underscores.
PASSWORD_NAMES: Final = frozenset(re.sub(r"\\W|-", "", word) for word in _PROSE_WORDS.split())
_LINK: Final = r"is|was|ist|lautet|war|es|era|est|était|è|é|jest|är|er|это"
#: ``with password …``, ``Passwort: …``, ``密码是…``.
PROSE_SECRET = re.compile(
    r"(?i:(?P<before>(?:with|using|mit|con|avec|com|с)\s+(?:the\s+|der\s+|dem\s+)?)?(?<![A-Za-z\d_-])"
    rf"(?P<name>{'|'.join(_PROSE_WORDS.split())})"
    r"(?:\s+(?:for|of|für|von|de|di|do|da|pour|per|voor)\s+[\w.@-]{1,40}(?=\s*[:：=]|\s+\w+\s))?"
    rf"(?![\w-]*[\"']?\s*[=(\[])(?P<link>\s*(?:[:：=]\**|是|为|為|は|を|는|은|\b(?:{_LINK})\b:?)\s*|\s+))"
    r"[\"'“‘`«「]?(?P<value>(?!<secret)[^\s\"'“”‘’`«»「」,;()\[\]{}<>]{4,})"
)
_CODE_NAME = (
    r"(?:PIN|TAN|OTP|CVV2?|CVC2?|cvv|cvc|otp|Bestätigungscode|Sicherheitscode"
    r"|(?i:one-time (?:code|password)|(?:verification|security|2fa|login) code))"
)
#: ``your PIN is …``, ``one-time code: …``, ``CVV …``; ``… is your PIN``
CODE_IN_PROSE = re.compile(rf"\b{_CODE_NAME}\b(?:\s+(?:is|was|lautet|ist))?\s*[:=]?\s*(?P<value>\d{{3,8}})\b")
CODE_BEFORE_NAME = re.compile(
    rf"\b(?P<value>\d{{4,8}})(?=\s{{1,3}}(?:is|ist)\s(?:your|Ihr|dein)\s(?:\w{{1,20}}\s)?{_CODE_NAME}\b)"
)
#: ``Incorrect API key provided: …``, ``the token (…) has expired``: a word of letters and digits.
KEY_IN_PROSE = re.compile(
    r"(?i:\b(?:api[ _-]?key|(?:access|auth|api|bearer)[ _-]?token|token|secret|key))\b"
    r"(?:[ ](?:provided|given|supplied|used|is|was|value))?(?:[ ]|:[ ]|[ ]?\()[\"'“‘`]?"
    r"(?P<value>(?![A-Za-z_]+[-_]?\d{1,4}\b|0x)(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{8,})(?![\w.(\[])"
)
# Words that follow such a name in ordinary text, and words that no seed phrase has.
_ORDINARY_TEXT = """
for from with that this which must should would could cannot does have been being were will when after before
reset field length hash hashing required missing wrong incorrect invalid expired empty none null true false
authentication manager prompt policy protected based given used set stored changed and the not too only
"""
_ORDINARY: Final = frozenset(_ORDINARY_TEXT.split())
_STOP_TEXT = "the and for are was with that this from not you have has but all can will which"
_STOP_WORDS: Final = frozenset(_STOP_TEXT.split())

_CARD = re.compile(r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-]|\.(?!0\b)\d)")
_SEED_PHRASE = re.compile(r"(?<![\w-])(?:[a-z]{3,8}[ ]){11,23}[a-z]{3,8}(?![\w-])")
# The same as a list, one below the other or with numbers: only after a word that says so.
_SEED_HINT = r"(?i:seed|mnemonic|wallet|recovery|backup|phrase)[^\n]{0,60}?[\s\[({\"':=]{1,12}(?:1[.):][ ]?)?"
_SEED_BREAK = r"""["']?[ ]?(?:,\s{0,8}|\s{1,8})(?:\d\d?[.):][ ]?)?["']?"""
_SEED_LIST = re.compile(
    rf"{_SEED_HINT}(?P<words>(?!seed|phrase|words)[a-z]{{3,8}}(?:{_SEED_BREAK}[a-z]{{3,8}}){{11,23}})(?![\w-])"
)
_IBAN = re.compile(
    r"(?<![\w-])(?:[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?"
    r"|[a-z]{2}\d{2}(?:[ ]?[a-z]{4})?(?:[ ]?\d{4}){2,7}(?:[ ]?\d{1,3})?)(?![\w-])"
)
_SEED_LENGTHS: Final = (12, 15, 18, 21, 24)


def is_prose_secret(match: re.Match[str]) -> bool:
    """Return whether a match of `PROSE_SECRET` names a secret, and does not only speak of one."""
    value = match["value"].rstrip(".!?:…")
    if len(value) < 4 or value.lower() in _ORDINARY:
        return False
    is_word = value.isalpha() and (value.islower() or value.istitle()) and value.isascii()
    link = match["link"].strip()
    is_stated = bool(match["before"]) or (bool(link) and not (link == ":" and len(value) < 8))
    return is_stated or not is_word


def find_card_numbers(text: str) -> list[str]:
    """Return the numbers of payment cards, by their checksum."""
    return [match[0] for match in _CARD.finditer(text) if _has_card_checksum(re.sub(r"\D", "", match[0]))]


def find_seed_phrases(text: str) -> list[str]:
    """Return what may be the seed phrase of a wallet: as many short words as one has, none of them a stop word."""
    lists = (match["words"] for match in _SEED_LIST.finditer(text))
    return [
        phrase
        for phrase in (*(match[0] for match in _SEED_PHRASE.finditer(text)), *lists)
        if len(words := re.findall("[a-z]+", phrase)) in _SEED_LENGTHS and _STOP_WORDS.isdisjoint(words)
    ]


def find_ibans(text: str) -> list[str]:
    """Return the numbers of bank accounts, by their checksum."""
    return [match[0] for match in _IBAN.finditer(text) if _has_iban_checksum(match[0].replace(" ", ""))]


def _has_iban_checksum(iban: str) -> bool:
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def _has_card_checksum(digits: str) -> bool:
    """Return whether the digits begin as those of a card do, and have Luhn's check digit."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (
        (digits[0] in "3456" or 2221 <= int(digits[:4]) <= 2720)
        and len(set(digits)) > 1
        and (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0
    )
