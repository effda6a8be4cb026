# SPDX-License-Identifier: MIT
"""`bugle token`: what it makes is taken by the gateway."""

import stat

import pytest

from tokens import SECRET, bearer


def made(bugle, *args, stdin=None):
    done = bugle("token", *args, stdin=stdin)
    assert done.returncode == 0, done
    return done.stdout.splitlines()


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", "RS256", "ES256", "ES512", "EdDSA"])
def test_new_keys_sign_tokens_that_are_taken(bugle, gateway_factory, tmp_path, algorithm):
    out = tmp_path / "key"
    line = made(bugle, "new", "--alg", algorithm, "--out", out)[0]
    assert line.startswith(f"jwt_key = {algorithm}:")
    item = line.removeprefix("jwt_key = ")
    signs = item if algorithm.startswith("HS") else f"{algorithm}:@{out}"
    token = made(bugle, "make", "--key", signs, "--user", "anna", "--admin", "--ttl", "10m",
                 "--subscribe", "a/*", "--publish", "**")[0]
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.jwt_key": item})
    assert gateway.request("GET", "/api/stats", bearer(token)).status == 200
    assert made(bugle, "inspect", "--key", item, stdin=token)[-1] == "the token holds"
    spoilt = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    done = bugle("token", "inspect", "--key", item, stdin=spoilt)
    assert done.returncode == 1 and "was not signed with a key" in done.stderr
    if not algorithm.startswith("HS"):
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        done = bugle("token", "new", "--alg", algorithm, "--out", out)
        assert done.returncode == 1 and "File exists" in done.stderr


def test_new_api_keys_are_taken(bugle, gateway_factory):
    key, line = made(bugle, "new", "--name", "shop", "--rights", "publish=orders/** admin")
    item = line.removeprefix("api_key = ")
    assert item.startswith("shop:publish=orders/** admin:sha256.") and key not in line
    again = made(bugle, "hash", "--name", "shop", "--rights", "admin", stdin=key)[0]
    assert again.split(".")[1] != item.split(".")[1], "each has a salt of its own"
    assert made(bugle, "hash", stdin=key)[0].startswith("sha256.")
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.api_key": item})
    assert gateway.request("GET", "/api/stats", bearer(key)).status == 200
    assert gateway.post({"data": "x", "topic": "orders/1"}, headers=bearer(key)).status == 201


def test_inspect_shows_what_a_token_says(bugle):
    token = made(bugle, "make", "--key", f"HS256:{SECRET}", "--user", "an\u00e4", "--kid", "k1",
                 "--audience", "x", "--issuer", "y", "--publish", "a", "--publish", "b/**")[0]
    shown = "\n".join(made(bugle, "inspect", stdin=token))
    for part in ('"kid": "k1"', '"aud": "x"', '"iss": "y"', '"b/**"', "holds until 20"):
        assert part in shown, shown
    done = bugle("token", "inspect", "--key", f"HS256:{SECRET}", stdin=token)
    assert done.returncode == 1 and "is not for this gateway" in done.stderr
    assert made(bugle, "inspect", "--key", f"HS256:{SECRET}", "--audience", "x", "--issuer", "y",
                stdin=token)[-1] == "the token holds"


@pytest.mark.parametrize("args, status, part", [
    ([], 2, "name a command"),
    (["other"], 2, "nothing called other"),
    (["make"], 2, "needs one --key"),
    (["make", "--key", "none:x"], 2, "--key must be"),
    (["make", "--key", "HS256:short"], 1, "at least 32 bytes"),
    (["make", "--key", "RS256:@/nowhere"], 1, "/nowhere"),
    (["make", "--key", f"HS256:{SECRET}", "--publish", "a*"], 2, "the pattern"),
    (["make", "--key", f"HS256:{SECRET}", "--ttl", "0"], 2, "--ttl"),
    (["inspect"], 1, "no signed token"),
    (["hash"], 1, "32 to 512 characters"),
    (["new", "--name", "x"], 2, "go together"),
    (["new", "--name", "x", "--rights", "all"], 2, "--rights"),
    (["new", "--alg", "none"], 2, "no algorithm"),
    (["new", "--alg", "ES256"], 2, "--out"),
])
def test_mistakes_are_told(bugle, args, status, part):
    done = bugle("token", *args, stdin="nothing")
    assert done.returncode == status and part in done.stderr, done
    assert SECRET not in done.stderr and "short" not in done.stderr
