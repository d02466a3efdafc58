"""Access tokens as Entra signs them, for tenants whose public keys the simulator shows. Knows no server."""

import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.simulated import Simulator

TENANT = "aaaaaaaa-0000-4000-8000-000000000001"
API = "bbbbbbbb-0000-4000-8000-000000000002"
PUBLIC_CLIENT = "cccccccc-0000-4000-8000-000000000003"
USER = "dddddddd-0000-4000-8000-000000000004"


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_key(name: str) -> dict[str, Any]:
    found = jwt.algorithms.RSAAlgorithm.to_jwk(private_key(name).public_key(), as_dict=True)
    return {**found, "kid": name, "use": "sig"}


def publish(simulator: Simulator, *names: str) -> None:
    """Let the tenants have these keys and no others."""
    simulator.control(signing_keys=[public_key(name) for name in names])


def claims(authority: str, **changes: Any) -> dict[str, Any]:
    """Return what a user's v2.0 token says, with some of it changed, or left out by None."""
    now = int(time.time())
    usual = {
        "aud": API,
        "iss": f"{authority}/{changes.get('tid', TENANT)}/v2.0",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "azp": PUBLIC_CLIENT,
        "oid": USER,
        "scp": "D365.Read",
        "sub": "a-name-for-this-app-alone",
        "tid": TENANT,
        "ver": "2.0",
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(payload: Any, key: str = "one", **header: Any) -> str:
    """Return a token signed with a key, whose name may be told otherwise (`kid=`)."""
    return jwt.encode(payload, private_key(key), "RS256", headers={"kid": key, **header})


def token(authority: str, key: str = "one", **changes: Any) -> str:
    return signed(claims(authority, **changes), key)
