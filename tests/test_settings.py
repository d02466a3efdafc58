"""Settings: read once, every problem reported together, host limits from host.json."""

from pathlib import Path

import pytest

from d365mcp.settings import TOOLSETS, Settings, declared, read_settings

GOOD = {"D365FO_BASE_URL": "https://Contoso.operations.dynamics.com/"}


def settings(host_json: str = "{}", tmp_path: Path | None = None, **variables: str) -> Settings:
    path = None
    if tmp_path:
        path = tmp_path / "host.json"
        path.write_text(host_json)
    return read_settings({**GOOD, **variables}, path)


def test_the_environment_url_is_lower_case_without_trailing_slash() -> None:
    assert settings().base_url == "https://contoso.operations.dynamics.com"


def test_a_path_prefix_is_kept() -> None:
    address = "https://host.contoso.com/namespaces/AXSF/"
    assert settings(D365FO_BASE_URL=address).base_url == "https://host.contoso.com/namespaces/AXSF"


@pytest.mark.parametrize("address", ["http://contoso.com", "contoso.com", "https://", "https://a.com/?x=1", "ftp://a"])
def test_an_environment_url_that_is_not_https_is_a_problem(address: str) -> None:
    (problem, *_) = settings(D365FO_BASE_URL=address).problems
    assert problem.startswith("D365FO_BASE_URL must ")


def test_http_is_allowed_on_loopback_only() -> None:
    assert settings(D365FO_BASE_URL="http://127.0.0.1:8080").problems == ()


def test_all_problems_are_reported_together() -> None:
    read = read_settings({"D365FO_AUTH": "client_secret", "MCP_READ_ONLY": "maybe", "MCP_TOOLSETS": "data,sorcery"})
    assert [problem.split()[0] for problem in read.problems] == [
        "MCP_READ_ONLY",
        "MCP_TOOLSETS",
        "D365FO_BASE_URL",
        "D365FO_TENANT_ID",
        "D365FO_CLIENT_ID",
        "D365FO_CLIENT_SECRET",
    ]
    assert "D365FO_CLIENT_SECRET" in read.missing


def test_no_sign_in_is_refused_on_azure() -> None:
    on_azure = settings(
        MCP_AUTH="none", WEBSITE_SITE_NAME="func-d365mcp", WEBSITE_INSTANCE_ID="abc", MCP_CURSOR_KEY="k" * 32
    )
    assert on_azure.problems == ("MCP_AUTH is none, which is refused on Azure: set function_key, easy_auth or jwt.",)
    assert settings(MCP_AUTH="none").problems == ()


def test_what_is_wrong_is_not_called_missing_as_well() -> None:
    read = settings(D365FO_BASE_URL="contoso")
    assert read.missing == ("D365FO_BASE_URL",)
    (problem,) = read.problems
    assert problem.startswith("D365FO_BASE_URL must be an address like https://")


def test_all_toolsets_are_those_there_are() -> None:
    assert settings(MCP_TOOLSETS="all").toolsets == TOOLSETS


def test_a_short_cursor_key_is_a_problem_that_does_not_show_it() -> None:
    (problem,) = settings(MCP_CURSOR_KEY="short").problems
    assert "32 bytes" in problem
    assert "short" not in problem.replace("shorter", "")


def test_a_reference_to_a_missing_secret_does_not_become_the_secret() -> None:
    read = settings(MCP_CURSOR_KEY="@Microsoft.KeyVault(VaultName=kv-contoso;SecretName=cursor-key)")
    assert (read.cursor_keys, len(read.problems)) == ((), 1)
    assert read.problems[0].startswith("MCP_CURSOR_KEY is a Key Vault reference that could not be resolved")


def test_secrets_are_not_shown() -> None:
    read = settings(
        D365FO_CLIENT_SECRET="hunter2-hunter2", MCP_CURSOR_KEY="k" * 32, AzureWebJobsStorage="secret-string"
    )
    assert not any(secret in repr(read) for secret in ("hunter2", "kkkk", "secret-string"))


def test_tokens_may_be_meant_for_the_client_id_or_an_application_id_uri() -> None:
    read = settings(MCP_CLIENT_ID="app", MCP_AUDIENCES="https://mcp.contoso.com/mcp")
    assert read.audiences == {"app", "api://app", "https://mcp.contoso.com/mcp"}
    assert read.application_id_uri == "https://mcp.contoso.com/mcp"
    assert settings(MCP_CLIENT_ID="app").application_id_uri == "api://app"
    assert settings().audiences == frozenset()


def test_callers_come_from_our_own_tenant_unless_others_are_named() -> None:
    own, other = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
    assert settings(D365FO_TENANT_ID=own.upper()).tenants == (own,)
    assert settings(D365FO_TENANT_ID=own, MCP_ALLOWED_TENANTS=f"{other.upper()}, {own}").tenants == (other, own)
    assert settings(D365FO_TENANT_ID="contoso.onmicrosoft.com").tenants == ()
    (problem,) = settings(MCP_ALLOWED_TENANTS="contoso.onmicrosoft.com").problems
    assert problem == "MCP_ALLOWED_TENANTS must be tenant ids (GUIDs), not domain names."


def test_the_platforms_callers_are_not_held_to_a_tenant_by_its_domain_name() -> None:
    easy = {"MCP_AUTH": "easy_auth", "WEBSITE_AUTH_ENABLED": "True", "D365FO_TENANT_ID": "contoso.onmicrosoft.com"}
    (problem,) = settings(**easy).problems
    assert "MCP_ALLOWED_TENANTS" in problem
    assert settings(**easy, MCP_ALLOWED_TENANTS="aaaaaaaa-0000-4000-8000-000000000000").problems == ()


def test_what_checking_callers_needs_is_told_all_at_once() -> None:
    assert settings(MCP_AUTH="jwt").missing == ("MCP_CLIENT_ID", "MCP_PUBLIC_URL", "MCP_ALLOWED_TENANTS")
    own = {"D365FO_TENANT_ID": "aaaaaaaa-0000-4000-8000-000000000000"}
    complete = settings(MCP_AUTH="jwt", MCP_CLIENT_ID="app", MCP_PUBLIC_URL="https://mcp.contoso.com", **own)
    assert complete.problems == ()


def test_the_platforms_word_for_callers_needs_the_platform() -> None:
    (problem,) = settings(MCP_AUTH="easy_auth").problems
    assert "WEBSITE_AUTH_ENABLED" in problem
    assert settings(MCP_AUTH="easy_auth", WEBSITE_AUTH_ENABLED="True").problems == ()


def test_on_behalf_of_needs_callers_tokens_for_the_same_app() -> None:
    tenant = "aaaaaaaa-0000-4000-8000-000000000000"
    app = {"D365FO_AUTH": "on_behalf_of", "D365FO_TENANT_ID": tenant, "D365FO_CLIENT_ID": "app"}
    (problem,) = settings(**app).problems
    assert "MCP_AUTH=function_key" in problem
    (problem,) = settings(**app, MCP_AUTH="easy_auth", WEBSITE_AUTH_ENABLED="1", MCP_CLIENT_ID="other").problems
    assert "one app registration" in problem
    assert settings(**app, MCP_AUTH="easy_auth", WEBSITE_AUTH_ENABLED="1").problems == ()


def test_a_certificate_is_pem_or_base64() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\\nMII=\\n-----END PRIVATE KEY-----"
    assert settings(D365FO_CLIENT_CERTIFICATE=pem).client_certificate.count(b"\n") == 2
    assert settings(D365FO_CLIENT_CERTIFICATE="MIIB").client_certificate == bytes.fromhex("308201")
    (problem,) = settings(D365FO_CLIENT_CERTIFICATE="C:\\cert.pfx").problems
    assert problem == "D365FO_CLIENT_CERTIFICATE must be PEM, or the base64 of a PFX."


def test_host_limits_come_from_host_json_and_its_overrides(tmp_path: Path) -> None:
    host_json = '{"functionTimeout":"00:05:00","extensions":{"http":{"maxConcurrentRequests":100}}}'
    override = {"AzureFunctionsJobHost__extensions__http__maxConcurrentRequests": "8"}
    assert settings(host_json, tmp_path).host.max_concurrent_requests == 100
    assert settings(host_json, tmp_path, **override).host.max_concurrent_requests == 8
    assert settings(host_json, tmp_path, **override).tool_permits == 6


@pytest.mark.parametrize(
    ("timeout", "own", "seconds"),
    [
        ("00:05:00", "", 45.0),  # many clients wait 60 s
        ("00:05:00", "1800", 225.0),  # the load balancer's 230 s, less the margin
        ("00:00:10", "", 8.5),
        ("00:00:10", "4", 4.0),
        ("00:00:10", "60", 8.5),  # may lower the host's limit, never raise it
        ("-1", "", 45.0),
        ("-1", "1800", 225.0),
    ],
)
def test_the_deadline_stays_inside_the_hosts_limit(tmp_path: Path, timeout: str, own: str, seconds: float) -> None:
    read = settings(f'{{"functionTimeout":"{timeout}"}}', tmp_path, MCP_REQUEST_TIMEOUT=own)
    assert read.deadline_seconds == pytest.approx(seconds)


def test_permits_may_be_lowered_never_raised(tmp_path: Path) -> None:
    host_json = '{"extensions":{"http":{"maxConcurrentRequests":40}}}'
    assert settings(host_json, tmp_path, MCP_MAX_CONCURRENT_REQUESTS="2").tool_permits == 2
    assert settings(host_json, tmp_path, MCP_MAX_CONCURRENT_REQUESTS="400").tool_permits == 30


@pytest.mark.parametrize("host_json", ["{", '{"functionTimeout":"soon"}', '{"functionTimeout":"00:00:00"}'])
def test_a_broken_host_json_is_a_problem_not_a_crash(tmp_path: Path, host_json: str) -> None:
    (problem,) = settings(host_json, tmp_path).problems
    assert problem.startswith("host.json")


def test_every_setting_says_what_it_is_for() -> None:
    assert all(len(each.metadata["text"]) > 15 for each in declared())


AZURE = {"WEBSITE_SITE_NAME": "func", "WEBSITE_INSTANCE_ID": "abc", "MCP_CURSOR_KEY": "k" * 32}


@pytest.mark.parametrize(
    ("variables", "mcp_url", "metadata_url"),
    [
        ({"MCP_PUBLIC_URL": "https://MCP.contoso.com/"}, "https://mcp.contoso.com/mcp", "/mcp"),
        ({"MCP_PUBLIC_URL": "https://mcp.contoso.com/mcp"}, "https://mcp.contoso.com/mcp", "/mcp"),
        ({"MCP_PUBLIC_URL": "https://mcp.contoso.com/d365"}, "https://mcp.contoso.com/d365/mcp", "/d365/mcp"),
        ({"WEBSITE_HOSTNAME": "mcp.contoso.com", **AZURE}, "https://mcp.contoso.com/mcp", "/mcp"),
    ],
    ids=["host", "endpoint", "below a path", "the site's own name"],
)
def test_the_public_address_names_the_endpoint_and_its_metadata(
    variables: dict[str, str], mcp_url: str, metadata_url: str
) -> None:
    read = settings(**variables)
    assert read.mcp_url == mcp_url
    assert read.metadata_url == f"https://mcp.contoso.com/.well-known/oauth-protected-resource{metadata_url}"


def test_on_one_machine_there_is_no_public_address_unless_it_is_set() -> None:
    assert settings(WEBSITE_HOSTNAME="localhost:7071").public_url == ""


def test_a_public_address_that_is_not_https_is_a_problem() -> None:
    (problem,) = settings(MCP_PUBLIC_URL="http://mcp.contoso.com").problems
    assert problem == "MCP_PUBLIC_URL must start with https://."


def test_an_instance_has_a_name_of_its_own() -> None:
    flex = settings(WEBSITE_SITE_NAME="func", CONTAINER_NAME="flex-1", HOSTNAME="localhost")
    assert flex.instance == "flex-1"
    assert settings(CONTAINER_APP_NAME="d365mcp", HOSTNAME="d365mcp--1-abc").instance == "d365mcp--1-abc"
    assert settings(HOSTNAME="d365mcp-5f7-xyz").instance == "d365mcp-5f7-xyz"
    assert settings().instance == "local"


@pytest.mark.parametrize("schedule", ["02:30", "2:30", "00:00", "23:59"])
def test_a_schedule_is_an_hour_and_a_minute(schedule: str) -> None:
    read = settings(MCP_CATALOG_SCHEDULE=schedule)
    assert read.problems == ()
    assert read.catalog_schedule == schedule.rjust(5, "0")


@pytest.mark.parametrize(
    "schedule", ["24:00", "02:60", "2", "0230", "02:30:00", "2:3", "nightly", "0 30 2 * * *", "-1:00", "٠٢:٣٠", "02.30", ":"]
)  # fmt: skip
def test_any_other_schedule_is_a_problem(schedule: str) -> None:
    [problem] = settings(MCP_CATALOG_SCHEDULE=schedule).problems
    assert problem == "MCP_CATALOG_SCHEDULE must be a time of day in UTC, HH:MM, such as 02:30."
    assert settings(MCP_CATALOG_SCHEDULE=schedule).catalog_schedule == "02:30"
