from __future__ import annotations

import random
import string

import pytest

from puq_magics.prompts.redaction.masking import (
    SecretMasker,
    find_environment_secrets,
    is_secret_name,
    looks_random,
)

NAMES = [
    "key",
    "token",
    "password",
    "secret",
    "api_key",
    "API_KEY",
    "apiKey",
    "OPENAI_API_KEY",
    "APIKey",
    "apikey",
    "token1",
    "access_token",
    "clientSecret",
    "passwd",
    "pwd",
    "db_password",
    "mypassword",
    "credentials",
    "auth_header",
    "cookie",
    "private_key",
    "session_tokens",
    "api_keys",
    "JWT",
    "key_",
]
OTHERS = [
    "keyboard",
    "monkey",
    "tokenizer",
    "secretary",
    "n",
    "passport",
    "keys",
    "tokens",
    "sort_key",
    "primary_key",
    "compass",
    "bypass",
    "author",
    "column",
    "index",
    "keyword",
    "turkey",
    "schlüsselwort",
    "исключение",
    "enclave",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


LEAKS = [
    ("client = Client('sk-abcdef0123456789')", "sk-abcdef0123456789"),
    ("sk-proj-AbC_dEf-123456789", "sk-proj-AbC_dEf-123456789"),
    ("gh = 'ghp_0123456789abcdefABCDEF0123456789abcd'", "ghp_0123456789abcdefABCDEF0123456789abcd"),
    ("x = AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmN", "eyJhbGciOiJIUzI1NiJ9"),
    ("create_engine('postgres://ada:hunter2@db/x')", "hunter2"),
    ("headers = {'Authorization': 'Bearer abcdefghijkl'}", "abcdefghijkl"),
    (
        "headers = {'Authorization': 'Token ' + 'x', 'b': 1, \"Authorization\": \"Token qwertyui\"}",
        "qwertyui",
    ),
    ("!curl -H 'Authorization: Basic YWRhOmh1bnRlcg'", "YWRhOmh1bnRlcg"),
    ('headers = {"Authorization": "ApiKey rosebudxyz"}', "rosebudxyz"),
    ('headers = {"Authorization": "DeepL-Auth-Key rosebudxyz"}', "rosebudxyz"),
    ('headers = {"Authorization": "rosebudxyz"}', "rosebudxyz"),
    ("Authorization: rosebud77 was refused", "rosebud77"),
    ("Authorization: rosebudxyz is wrong", "rosebudxyz"),
    ('Authorization: OAuth oauth_token="rosebud77"', "rosebud77"),
    ("!curl -H Authorization:rosebudxyz -v", "rosebudxyz"),
    ("%%js\nfetch(u, {headers: {Authorization: `SSWS rosebudxyz`}})", "rosebudxyz"),
    ("password = 'hunter2'", "hunter2"),
    ('password="swordfish"', "swordfish"),
    ("{'password': 'swordfish'}", "swordfish"),
    ("os.environ['OPENAI_API_KEY'] = 'plainwords'", "plainwords"),
    ("login(user='ada', pwd=r'a b c')", "a b c"),
    ("User(name='ada', password='it\\'s me')", "s me"),
    ("api_key: str = 'plainwords'", "plainwords"),
    ("secret = '''two\nlines'''", "two\nlines"),
    ("%env API_KEY=plainwords", "plainwords"),
    ("%set_env API_KEY plainwords", "plainwords"),
    ("!export TOKEN=plain4words", "plain4words"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
    ("id 123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    ("sha 9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d659a2feaa0c55ad015"),
]


@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    masked = SecretMasker().mask(text)
    assert secret not in masked
    assert "<secret 1>" in masked


# In code, where only strings, comments and magics are read as text.
IN_CODE = [
    ('connect("Server=h;Password=SqlPass77;")', "SqlPass77"),
    ('get("https://h/x?token=urltoken123&key=urlkey456")', "urltoken123"),
    ('get("https://h/x?token=urltoken123&key=urlkey456")', "urlkey456"),
    ('get("/x" "?access_token=acctok7777777")', "acctok7777777"),
    ("PASSWD = 12345678", "12345678"),
    ("password: int = 12345678", "12345678"),
    ('d = {"password": 12345678}', "12345678"),
    ("x = 1  # my password=hunter5plain", "hunter5plain"),
    ('pairs = [("password","tuplepass9")]', "tuplepass9"),
    ('pairs = [["password", "tuplepass9"]]', "tuplepass9"),
    ('monkeypatch.setenv("TOKEN", "tuplepass9")', "tuplepass9"),
    ('setattr(db, "password", "swordfish")', "swordfish"),
    ('token = f"tok{1}secretval"', "secretval"),
    ('tok="abcdef123"', "abcdef123"),
    ('!curl -H "X-Api-Key: abcdzzzz" https://h', "abcdzzzz"),
    ("!curl -H X-Api-Key:abcdzzzz https://h", "abcdzzzz"),
    ("!curl -u bob:s3cret https://h", "s3cret"),
    ("run(['curl', '-u', 'bob:s3cret'])", "s3cret"),
    ("get(url, auth=('bob', 's3cret'))", "s3cret"),
    ("!mysql --password swordfish", "swordfish"),
    ('x = "AccountName=n;AccountKey=abCD12efGH==;"', "abCD12efGH=="),
    ('x = \'{\\"password\\": \\"swordfish\\"}\'', "swordfish"),
    ('"""\nPassword=SqlPass77\n"""', "SqlPass77"),
    ("%%bash\nmysql password=SqlPass77", "SqlPass77"),
]
IN_TEXTS = [
    ("bad Client(api_key=kk-123-abc-hidden)", "kk-123-abc-hidden"),
    ("<Client token=correct-horse-1>", "correct-horse-1"),
    ("Server=h;Password=SqlPass77;", "SqlPass77"),
    ("no login with password: swordfish", "swordfish"),
    ("config is {'password': 12345678}", "12345678"),
    ("  --> 2 | connect('Password=SqlPass77')", "SqlPass77"),
]


IN_CODE += [
    ("run(['mysql', '-u', 'root', '-phunter22x', 'db'])", "hunter22x"),
    ("cmd = ['vault', 'login', '-token=qv7Zk2LmAA']", "qv7Zk2LmAA"),
    ("!sshpass -p 'Tulip!99x' ssh ada@host", "Tulip!99x"),
    ("!docker login -u ada -p Tulip99xyz registry.example.com", "Tulip99xyz"),
    ("!redis-cli -a Tulip99xyz ping", "Tulip99xyz"),
    ("!curl --user 'ada:Tulip 99xyz' https://h", "99xyz"),
    ("!aws configure set aws_secret_access_key plain-words-only", "plain-words-only"),
    ("creds = ('ada', 'Tulip!99x')", "Tulip!99x"),
    ("auth = HTTPDigestAuth('ada', 'rosebud')", "rosebud"),
    ("smtp.login('ada@x.org', 'rosebud77')", "rosebud77"),
    ("ftp.login(user, 'rosebud77')", "rosebud77"),
    ("connect('db', password := 'rosebud77')", "rosebud77"),
    ("keyring.set_password('svc', 'ada', 'rosebud77')", "rosebud77"),
    ("(client_id, client_secret) = ('abc-1', 'rosebud77')", "rosebud77"),
    ("user, password = 'ada', 'rosebud77'", "rosebud77"),
    ("hmac.new(b'rosebud', msg, sha256)", "rosebud"),
    ("jwt.encode(payload, 'rosebud', algorithm='HS256')", "rosebud"),
    ('client.set_token("rosebud77")', "rosebud77"),
    ("client.authenticate('rosebud77')", "rosebud77"),
    ("# login with user ada and password Tulip!99x", "Tulip!99x"),
    ("geheim = 'tulip99x'", "tulip99x"),
    ("contraseña = 'tulip99x'", "tulip99x"),
    ("пароль = 'tulip99x'", "tulip99x"),
    ("if password == 'Tulip!99x':", "Tulip!99x"),
    ("df.query(\"password != 'Tulip!99x'\")", "Tulip!99x"),
    ("s = pd.Series(['Tulip!99x', 'hunter22'], name='password')", "Tulip!99x"),
    ("StringIO('''user,password\nada,Tulip!99x\n''')", "Tulip!99x"),
]
IN_CODE += [
    ('data = \'{"user": "ada", "password": "Tulip 99x"}\'', "Tulip 99x"),
    ('cfg = """\n[db]\npassword = "Tulip 99x"\n"""', "Tulip 99x"),
    ('post(u, data=\'{"password": "Tulip 99x"}\')', "Tulip 99x"),
    ("js = \"const password = 'Tulip 99x'\"", "Tulip 99x"),
    ('code = """run("password = \'Tulip 99x\'")"""', "Tulip 99x"),
    ("d = {'Admin password': 'Tulip 99x'}", "Tulip 99x"),
    ("getpass('Password: '); login('ada', 'rosebud77')", "rosebud77"),
    ("getpass('Password: '); password='Tulip 99x'", "Tulip 99x"),
    ("print('it\\'s'); x['password'] = 'Tulip 99x'  # it's", "Tulip 99x"),
]
IN_CODE += [
    (f"{name} = 'Tulip!99x'", "Tulip!99x")
    for name in (
        "jelszó", "clave", "κωδικός", "סיסמה", "lozinka", "api_schlüssel", "palavra_passe", "kata_sandi", "ключ",
        "db_гасло", "登录密码", "كلمة_المرور", "psk", "lösenord",
    )
]  # fmt: skip
IN_CODE += [
    ("%%bash\n# the password is Tulip!99x\nls", "Tulip!99x"),
    ("%%sql\nCREATE USER ada WITH PASSWORD 'Tulip!99x';", "Tulip!99x"),
    ("# كلمة المرور: Tulip!99x", "Tulip!99x"),
    ("# رمز عبور: Tulip!99x", "Tulip!99x"),
    ("# kata sandi: Tulip!99x", "Tulip!99x"),
    ("# 登录口令为Tulip!99x", "Tulip!99x"),
    ("# 비밀번호는 Tulip!99x 입니다", "Tulip!99x"),
    ("# **Password:** Tulip!99x", "Tulip!99x"),
]
IN_CODE += [
    (text, "Tulip!99x")
    for text in (
        "sql = \"ALTER USER ada IDENTIFIED BY 'Tulip!99x'\"",
        "x = '<password>Tulip!99x</password>'",
        'x = \'<add key="DbConnectionPassword" value="Tulip!99x"/>\'',
        '%%R\npassword <- "Tulip!99x"',
        '%%ruby\nconfig[:password] = "Tulip!99x"',
        '%%powershell\n$env:API_KEY = "Tulip!99x"',
        'token = os.getenv("X") or "Tulip!99x"',
        'password = os.environ["P"] if prod else "Tulip!99x"',
        'password = SecretStr("Tulip!99x")',
        'pymysql.connect("h", "ada", "Tulip!99x", "db")',
        "!az login -u id -p Tulip!99x",
        "!twine upload -u __token__ -p Tulip!99x d/*",
        "!zip -P Tulip!99x x.zip y",
        "!7z x -pTulip!99x a.7z",
        "!echo Tulip!99x | sudo -S ls",
        "!echo Tulip!99x | docker login -u ada --password-stdin",
        "!curl -b 'session=Tulip!99x' https://h",
        "hashlib.scrypt(b'Tulip!99x', salt=s, n=2)",
    )
]
IN_TEXTS += [
    ('r.text = \'{"access_token": "Tulip 99x", "x": 1}\'', "Tulip 99x"),
    ('  --> 2 | body = \'{"password": "Tulip 99x"}\'\n', "Tulip 99x"),
    ("  --> 2 | getpass('Password: '); login('ada', 'rosebud77')", "rosebud77"),
    ("your PIN is 482913", "482913"),
    ("Your one-time code is 482913.", "482913"),
    ("the API key (rosebud77xyz) is not valid", "rosebud77xyz"),
    ("Incorrect API key provided: rosebud77xyz", "rosebud77xyz"),
    ("Access denied: key rosebud77xyz has expired", "rosebud77xyz"),
    ("Passwort für ada: Tulpe99!x", "Tulpe99!x"),
    ("la contraseña de ada es rosa77x", "rosa77x"),
    ("Ihr neues Passwort lautet:\nrosa77x", "rosa77x"),
    ("User\npassword\n  String too short [type=short, input_value='Tulip!99x', input_type=str]", "Tulip!99x"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nTulip\n-----END PGP PRIVATE KEY BLOCK-----", "Tulip"),
    ("PuTTY-User-Key-File-2: ssh-rsa\nPrivate-Lines: 1\nTulip\nPrivate-MAC: 00", "Tulip"),
    ("password    blue horse\nuser             ada\nName: 0, dtype: object", "blue horse"),
    ("482913 is your verification code", "482913"),
    ("Ihr Bestätigungscode lautet 482913", "482913"),
    ("card = '2223003122003222'", "2223003122003222"),
    ("card\n0  4111111111111111.0\n1  NaN", "4111111111111111"),
    ("iban de89 3704 0044 0532 0130 00", "3704"),
    ("Client('kV3/xQ9bTz+Lm7RcW2pYf8Ha/s5DnJ4gUe1XoKtB')", "Lm7RcW2pYf8Ha"),
    ("see https://calendar.example/ical/x/private-0123456789abcdef/basic.ics", "0123456789abcdef"),
]


@pytest.mark.parametrize(("text", "secret"), IN_CODE)
def test_secrets_in_code(text: str, secret: str) -> None:
    masked = SecretMasker().mask(text, code=True)
    assert secret not in masked
    assert "<secret 1>" in masked


@pytest.mark.parametrize(("text", "secret"), IN_TEXTS)
def test_secrets_in_texts(text: str, secret: str) -> None:
    masked = SecretMasker().mask(text)
    assert secret not in masked
    assert "<secret 1>" in masked


TABLES = [
    "  user   password  age\n0  ada  Tulip!99x    3\n1  bob  blue horse   4\n\n[2 rows x 3 columns]",
    "     password  n\n0   Tulip!99x  1\n1  blue horse  2",
    "            user\npassword        \nTulip!99x    ada\nblue horse   bob",
    "0     Tulip!99x\n1    blue horse\nName: password, dtype: object",
    "ada     Tulip!99x\nbob    blue horse\nName: db_password, Length: 2, dtype: object",
    "user,password,age\nada,Tulip!99x,3\nbob,blue horse,4\n",
    "user;passwort\nada;Tulip!99x\nbob;blue horse",
    "user\tpassword\nada\tTulip!99x\nbob\tblue horse",
    "| user | password |\n| --- | --- |\n| ada | Tulip!99x |\n| bob | blue horse |",
    " user | password   | age\n------+------------+-----\n ada  | Tulip!99x  |   3\n"
    " bob  | blue horse |   4\n(2 rows)\n",
    "│ user ┆ password   │\n│ ---  ┆ ---        │\n│ str  ┆ str        │\n╞══════╪════════════╡\n"
    "│ ada  ┆ Tulip!99x  │\n│ bob  ┆ blue horse │",
]


@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_columns_of_secrets_in_printed_tables(table: str, code: bool) -> None:
    masked = SecretMasker().mask(table, code=code)
    assert "Tulip!99x" not in masked
    assert "blue horse" not in masked
    assert ("ada" in masked) == ("ada" in table)


@pytest.mark.parametrize(
    "text",
    [
        "   token  count\n0    the      3\n1    cat      4",
        "| key | value |\n| --- | --- |\n| a | 1 |",
        "word,token_count\nthe,3",
        "user        object\npassword    object\nage          int64\ndtype: object",
        "#   Column    Non-Null Count  Dtype \n 0   user      3 non-null      object\n"
        " 1   password  3 non-null      object",
        "   column   dtype\n0  password  object\n1  age  int64",
        "  password\n0  NaN\n1  None",
        "Enter the password for ada:",
        "Please reset your password before Monday.",
        "SyntaxError: invalid token",
        "key column_2024 is not in the index",
        "status code is 404, the code is 200 lines long",
    ],
)
def test_tables_and_texts_without_secrets_stay(text: str) -> None:
    for code in (False, True):
        assert SecretMasker().mask(text, code=code) == text


CODE = [
    "check_password('password')",
    "login(user, password)",
    "x, key = 'colour', names[0]",
    "if auth_kind == 'basic': pass",
    "cache_key('users')",
    "getenv('API_TOKEN_2')",
    "s = pd.Series(['a', 'b'], name='colour')",
    "rows.sort(key=lambda x: x)",
    "sorted(d, key=len)",
    "sorted(d, key=operator.itemgetter(12345))",
    "token_count = 5",
    "max_tokens=100",
    "max_tokens = 100_000",
    "next_token = tokens[position1]",
    "for key, value in d.items():\n    print(f'{key}={value}')",
    "login(password=password, token=my_token_2)",
    "def f(password: str, api_key: str | None = None): pass",
    "password = getpass('Password: ')",
    "api_key = os.environ['THE_NAME_2']",
    "f'password={password!r} token={token}' + 'password=%s' % 3",
    "headers = {'Authorization': f'{kind}', 'b': f'Authorization: Bearer {kind}'}",
    "headers = {'Authorization': 'ApiKey ' + key, 'b': f'Authorization: SSWS {kind}'}",
    "headers = {'Authorization': f'Bearer {key}', 'b': {'Authorization': 'Bearer %s' % key}}",
    "class TokenStore:\n    \"\"\"Keeps it.\"\"\"\n\n    def find(self) -> list[Token]:\n        '''Find it.'''",
    "key = 'score' if has_scores else 'seconds_p50'; rows.sort(key=lambda row: row.day or '9999-12-31')",
    "rows = load('home/Ada/projects2/Report/build3/Output/final4')",
    "df[['password', 'username']]",
    "password_length = 10000",
    "if password == stored_password2: pass",
    "x = y % password  # password = getpass()",
    "user = input('Enter password: '); name = 'ada'; print('ok')",
    'print("password: "); x = {"a": "b"}; print("it\'s", "token=", \'c\', "d")',
]


@pytest.mark.parametrize("text", CODE)
def test_ordinary_code_stays(text: str) -> None:
    assert SecretMasker().mask(text, code=True) == text
    assert SecretMasker().mask(f"  --> 12 | {text}".split("\n")[0]) == f"  --> 12 | {text}".split("\n")[0]


PROSE = ["KeyError: 12345678", "invalid password: please retry", "f(x, key=None, token=<object>)", "Auth: no"]


@pytest.mark.parametrize("text", PROSE)
def test_ordinary_texts_stay(text: str) -> None:
    assert SecretMasker().mask(text) == text


HOSTILE = [
    "password=", "password: ", 'password="', "a='", 'a="""\\', "eyJ-", "eyJaaaaaaaa.", "\n", " ", "\\", '"',
    "'''", "a",
    "a-",
    "-u a:", '("key","', "://a:", "authorization", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
    "a:[ ", "  --> ",
    "1", "password=1", "#", "!", "{", "export ", "<secret 1>", "--token ", "auth=('", "sk-", "a: ", "key = ", "_",
    "password\n", "password,a\n", " password\n", "password  a\n", "Name: password, dtype: a\n", "0  a\n", "f('",
    "password(", "a, password = ", "password == ", "mysql -p", "password for a", "api key ", "PIN ",
    "<tr>", "<tr><td>", "</tr>", "<tr><td>password</td>", "(id, password)", "id, password\n", "(1, 'a')",
    "('id', 'key'",
    '"name": "key", ', "seed a ", "seed legal, ", "DE89 3704 ",
    '"a: "', '"a" "', "a=\"b='", '"a a', "a = 'password=\"b\\", "<a>",
    "echo a", "a\ninput_value='", "password\n", "identified by '", "token = b or ", "zip ", "curl -b ", "[:a", "4 ",
    "a/", "Name: a, dtype: object\n", "a  b\n", "PuTTY-User-Key-File-2:", "a = '\n",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize("unit", HOSTILE)
def test_no_text_takes_long(unit: str, code: bool) -> None:
    # One whose time grows with the square of the length would take minutes, and end with the run.
    SecretMasker().mask(unit * (100_000 // len(unit)), code=code)


def test_a_password_of_letters_is_known_again() -> None:
    masker = SecretMasker()
    masker.mask('password="correcthorsebatterystaple"; pwd = "swordfish"', code=True)
    assert masker.mask_known("no correcthorsebatterystaple") == "no <secret 1>"
    assert masker.mask_known("swordfish, swordfishes") == "<secret 2>, swordfishes"


def test_a_short_word_or_a_name_is_not_looked_for() -> None:
    masker = SecretMasker()
    masker.mask('password="string"; pwd = "password"')
    assert masker.mask_known("password: a string") == "password: a string"


def test_a_number_is_known_again_as_a_whole() -> None:
    masker = SecretMasker()
    masker.mask("PASSWD = 12345678")
    assert masker.mask_known("12345678 and 9123456780") == "<secret 1> and 9123456780"


HARMLESS = [
    "for key, value in d.items():\n    if key == 'name': print(f'{key}: {value}')",
    "sorted(rows, key='colour')",
    "df.groupby(key=\"colour\")['x'].mean()",
    "layer1_block2_conv3_weight = model.state_dict()['encoder.layer.11.attention.self.query.weight']",
    "class AbstractSingletonProxyFactoryBean2: pass",
    "2024-01-02T10:20:30.123456 0.12345678901234567890 12345678901234567890123",
    "<__main__.Foo object at 0x7f3e58845c10>",
    "Token expected at line 3; the password is wrong",
    "path/to/some_long_directory_name/with_file_v2_final.csv",
    "https://example.org:8080/path?x=1 and a:b@c",
    "x['keyboard'] = 'qwerty'; monkey = 'banana'",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_none_stays(text: str) -> None:
    assert SecretMasker().mask(text) == text


@pytest.mark.parametrize("seed", range(20))
def test_long_random_words_are_masked(seed: int) -> None:
    rng = random.Random(seed)
    word = "".join(rng.choices(string.ascii_letters + string.digits, k=40))
    assert looks_random(word)
    assert word not in SecretMasker().mask(f"connect({word!r})")


def test_a_known_secret_is_masked_wherever_it_stands() -> None:
    masker = SecretMasker(["open sesame", "it's \\ me"])
    assert masker.mask("say open sesame") == "say <secret 1>"
    assert "me" not in masker.mask(repr({"x": "it's \\ me"}))


def test_a_secret_that_was_found_once_is_known() -> None:
    masker = SecretMasker()
    assert masker.mask("password = 'hunter2'") == "password = '<secret 1>'"
    assert masker.mask_known("login failed for hunter2") == "login failed for <secret 1>"
    assert masker.count == 1


def test_the_same_secret_has_the_same_mark() -> None:
    masked = SecretMasker().mask("a_token = 'hunter2'\nb_token = 'other3'\nc_token = 'hunter2'")
    assert masked == "a_token = '<secret 1>'\nb_token = '<secret 2>'\nc_token = '<secret 1>'"


def test_masking_twice_changes_nothing_more() -> None:
    masker = SecretMasker()
    once = masker.mask("password = 'hunter2'; x = 'sk-0123456789abc'")
    assert masker.mask(once) == once


def test_only_what_the_source_held_is_put_back() -> None:
    masker = SecretMasker(["from-elsewhere-1"])
    cell = "password = 'hunter2'"
    masker.mask(f"{cell} from-elsewhere-1")
    assert masker.unmask("p = '<secret 1>' + '<secret 2>'", cell) in (
        "p = 'hunter2' + '<secret 2>'",
        "p = '<secret 1>' + 'hunter2'",
    )


def test_secrets_of_an_environment() -> None:
    environment = {
        "OPENAI_API_KEY": "abcdefgh",
        "HOME": "/home/ada",
        "TOKEN": "1",
        "DB_PASSWORD": "swordfish",
    }
    assert find_environment_secrets(environment) == ["abcdefgh", "swordfish"]


X = "Zq7Xw2Lm9Kp4Rt8Vn3Bd"  # the random part of tokens


@pytest.mark.parametrize(
    "token",
    [
        f"gsk_{X}{X}", f"xai-{X}{X}", f"pplx-{X}{X}", f"r8_{X}{X}", f"nvapi-{X}{X}", f"lsv2_pt_{X}{X}", f"tvly-{X}",
        f"SG.{X}.{X}{X}", "SK" + "0a" * 16, "key-" + "0a" * 16, "0a" * 16 + "-us12", f"whsec_{X}{X}", f"npm_{X}{X}",
        f"pypi-AgEI{X}{X}", f"dckr_pat_{X}", "shpat_" + "0a" * 16, f"sq0atp-{X}", "dop_v1_" + "0a" * 32,
        "dapi" + "0a" * 16,
        f"hvs.{X}{X}", f"lin_api_{X}{X}", f"ntn_{X}{X}", f"glpat-{X}", f"glrt-{X}", f"GOCSPX-{X}{X}", f"xoxb-12-{X}",
        f"figd_{X}{X}", "PMAK-" + "0a" * 20, f"glsa_{X}{X}", f"NRAK-{X}", f"pscale_tkn_{X}", f"dp.pt.{X}{X}",
        f"ATATT3{X}{X}", f"ATBB{X}", f"AGE-SECRET-KEY-1{X.upper()}", f"1234567890:AA{X}{X}", f"tskey-auth-{X}",
        f"EAACEdEose0cBA{X}{X}", f"xkeysib-{X}{X}", "rubygems_" + "0a" * 24, "pul-" + "0a" * 20, "sbp_" + "0a" * 20,
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["got {} here", "client = connect('{}')", "x={}&y=1"])
def test_tokens_of_services_are_masked(text: str, token: str) -> None:
    for code in (False, True):
        assert token[-8:] not in SecretMasker().mask(text.format(token), code=code)


SEED_WORDS = [
    "legal",
    "winner",
    "thank",
    "year",
    "wave",
    "sausage",
    "worth",
    "useful",
    "legal",
    "winner",
    "thank",
    "yellow",
]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"https://hooks.slack.com/services/T000/B000/{X}", X),
        (f"https://discord.com/api/webhooks/123456789012345678/{X}_{X}", X),
        (f"https://acme.webhook.office.com/webhookb2/{X}@b/IncomingWebhook/c", X),
        ("https://hooks.zapier.com/hooks/catch/123456/abcdef/", "abcdef"),
        (f"https://x.blob.core.windows.net/c?sv=1&sig={X}%3D", X),
        ("['mysql', '--password', 'hunter2']", "hunter2"),
        ('["curl", "--api-key", "horse battery"]', "horse battery"),
        ("credentials = ('ada', 'tr0ub4dor')", "tr0ub4dor"),
        ("{'passwords': ['first-one', 'second-one']}", "second-one"),
        ("cannot log in with password hunter2 today", "hunter2"),
        ("connected using the password correcthorse", "correcthorse"),
        ("the password is correcthorse", "correcthorse"),
        ("Passwort: Sommer2024", "Sommer2024"),
        ("mit Passwort Sonnenblume", "Sonnenblume"),
        ("Das Kennwort lautet Sommer2024!", "Sommer2024"),
        ("contraseña: girasol99", "girasol99"),
        ("la clave es girasol99", "girasol99"),
        ("mot de passe : tournesol9", "tournesol9"),
        ("senha: girassol9", "girassol9"),
        ("hasło: slonecznik9", "slonecznik9"),
        ("пароль: подсолнух9", "подсолнух9"),
        ("密码：sunflower9", "sunflower9"),
        ("パスワードはsunflower9", "sunflower9"),
        ("비밀번호: sunflower9", "sunflower9"),
        ("paid with 4111 1111 1111 1111 today", "1111 1111"),
        ("card 5500-0000-0000-0004", "0000-0004"),
        ("378282246310005", "378282246310005"),
        (
            "seed = 'legal winner thank year wave sausage worth useful legal winner thank yellow'",
            "sausage worth",
        ),
        (f"seed_words = {SEED_WORDS}", "sausage"),
        ("Recovery phrase:\n" + "\n".join(f"{n}. {word}" for n, word in enumerate(SEED_WORDS, 1)), "sausage"),
        ("wallet seed\n" + "\n".join(SEED_WORDS), "sausage"),
        ("mnemonic: " + ", ".join(SEED_WORDS), "sausage"),
        ("pay to DE89 3704 0044 0532 0130 00 please", "0532"),
        ("iban='GB29NWBK60161331926819'", "NWBK6016"),
        ("postgres://ada:hun/ter2@db/x", "ter2"),
        ("mysql://root:a/b#c@host:3306/d", "b#c"),
        ("https://ada:p@ss/x@host/x", "ss/x"),
        ("<tr><th>user</th><th>password</th></tr><tr><td>ada</td><td>blue horse</td></tr>", "blue horse"),
        (
            "<thead>\n<tr style='a'>\n<th></th>\n<th>password</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<th>0</th>\n"
            "<td>\n blue horse</td>\n</tr>\n<tr><th>1</th><td>red horse</td></tr>",
            "red horse",
        ),
        ("<tr><td>Password</td><td>blue horse</td></tr>", "blue horse"),
        ('{"password":\n    "blue horse"}', "blue horse"),
        ('{\n "name": "password",\n "value":\n "bluehorse"\n}', "bluehorse"),
        ("{'key': 'DB_PASSWORD', 'value': 'blue horse'}", "blue horse"),
        ("('id', 'password')\n(1, 'bluehorse')", "bluehorse"),
        ("id, password\n[(1, 'bluehorse'), (2, 'redhorse')]", "redhorse"),
        ("columns = ['id', 'password']\nrows = [[1, 'bluehorse'], [2, 'redhorse']]", "redhorse"),
        ("pd.DataFrame([('ada', 'bluehorse')], columns=['id', 'password'])", "bluehorse"),
        ("INSERT INTO t (id, password, n)\nVALUES (1, 'bluehorse', 2), (2, 'it\\'s', 3)", "it"),
    ],
)
def test_secrets_without_a_name_beside_them(text: str, secret: str) -> None:
    masked = SecretMasker().mask(text)
    assert secret not in masked
    assert "<secret 1>" in masked


@pytest.mark.parametrize(
    "text",
    [
        "the password field is required",
        "password reset for this user",
        "Password for ada:",
        "the password must have digits",
        "order 4111111111111112 of 2024",  # not a card's checksum
        "1234567890123456",
        "values 0.4111111111111111",
        "['--path', 'data.csv'] and ['--verbose', 'yes']",
        "columns = ['user', 'city']",
        "we wanted to see which of these many long words would be left here by it",
        "https://hooks.slack.com/services",
        "https://example.com/?sig=1&x=2",
        "iban GB29NWBK60161331926818",  # not its checksum
        "http://localhost:8888/@ada",
        "df[['password', 'user']] and df[['city', 'country']]",
        "<tr><th>user</th><th>city</th></tr><tr><td>ada</td><td>Oslo</td></tr>",
        "('id', 'city')\n(1, 'Oslo')",
        "('id', 'password')\n(1, 'Oslo', 3)",
        "'name': 'colour', 'value': 'blue'",
        f"columns = {SEED_WORDS}",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert SecretMasker().mask(text) == text
