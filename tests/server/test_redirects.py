"""Where sign-ins may return to by default: the loopback addresses of ordinary hosts, on any port, and nowhere else."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.test_facade import AUTHORIZE, EXCHANGE, FORM, authorize, facade, redirected

HOSTS = {
    "Claude Code": "http://localhost:{}/callback",
    "mcp-remote, MCP Inspector": "http://localhost:{}/oauth/callback",
    "VS Code": "http://127.0.0.1:{}/",
    "mcporter": "http://127.0.0.1:{}/callback",
    "OpenCode": "http://127.0.0.1:{}/mcp/oauth/callback",
    "Codex": "http://127.0.0.1:{}/callback/-4ZY_fT1Aeb9",
}


@pytest.mark.parametrize("port", [1, 19876, 65535])
@pytest.mark.parametrize("host", HOSTS)
def test_sign_ins_of_ordinary_hosts_return_to_any_port_of_loopback(host: str, port: int) -> None:
    uri = HOSTS[host].format(port)
    assert redirected(authorize({**AUTHORIZE, "redirect_uri": uri}))[1]["redirect_uri"] == uri
    assert facade().register({}, json.dumps({"redirect_uris": [uri]}).encode()).status == 201
    assert facade().token_request(FORM, urlencode({**EXCHANGE, "redirect_uri": uri}).encode())


def words(text: str) -> list[str]:
    return text.split()


BEFORE = ["", "\t", " http://", *words(r"http:// HTTP:// https:// ftp:// // http:/ http: http:\\ javascript:// data:")]
NAMES = words("localhost localhost. LOCALHOST lοcalhost %6cocalhost localhost.evil.example evil.example")
NAMES += words("127.0.0.1 127.1 127.0.0.2 2130706433 0x7f000001 127。0。0。1 127.0.0.1%00 127.0.0.1.evil.example")
NAMES += words("[::1] [::ffff:127.0.0.1] [::ffff:7f00:1]")
BETWEEN = ["", "\r\n", "\x00", *words(r"@ a@ a:b@ :80@ \@ \ #@ ?@ /@ %40 %2f@ %5c@ ;")]
PORTS = ["", ":80 ", *words(": :0 :1 :65535 :123456 :-1 :+1 :٣ :80:80 :80evil.example :80%2f")]
PATHS = [
    "",
    "/callback\n",
    "/callback ",
    *words(r"/ /callback /oauth/callback /mcp/oauth/callback /callback/ \callback"),
]
PATHS += words("/Callback /%63allback //callback /callback# /callback?a=b /callback;a /callback//evil.example")
PATHS += words("/callback/../../.. /callback/%2e%2e/a /callback/............ /callback/-4ZY_fT1Aeb9 /-4ZY_fT1Aeb9")
PATHS += words(
    "/callback/-4ZY_fT1Aeb /callback/-4ZY_fT1Aeb9a /callback/-4ZY_fT1Aeb٣ /callback/-4ZY_fT1Aeb9/-4ZY_fT1Aeb9"
)
FIRST, LAST = (st.sampled_from(BEFORE), st.sampled_from(NAMES)), (st.sampled_from(PORTS), st.sampled_from(PATHS))
MADE_UP = st.one_of(
    st.tuples(*FIRST, *LAST).map("".join),
    st.tuples(*FIRST, st.sampled_from(BETWEEN), st.sampled_from(NAMES), *LAST).map("".join),
    st.tuples(st.sampled_from([uri.format(80) for uri in HOSTS.values()]), st.text(max_size=3)).map("".join),
)
# What each name is good for, read without the product's patterns.
TAKEN = {"localhost": ("callback", "oauth/callback"), "127.0.0.1": ("", "callback", "mcp/oauth/callback")}


def leads_home(uri: str) -> bool:
    scheme, _, rest = uri.partition("://")
    place, _, path = rest.partition("/")
    name, colon, port = place.partition(":")
    known = TAKEN.get(name, ())
    begun, _, ending = path.rpartition("/")
    of_codex = bool(begun) and begun in known and len(ending) == 12 and is_hash(ending)
    return scheme == "http" and (not colon or is_port(port)) and (path in known or of_codex)


def is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def is_hash(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()


@settings(max_examples=2000)
@given(MADE_UP)
def test_no_sign_in_returns_anywhere_else(uri: str) -> None:
    assert facade().is_allowed(uri) == leads_home(uri)
