# SPDX-License-Identifier: MIT
"""Signed tokens at the door of the real program: each good kind is let in, and of many bad ones
none is (reliability: RFC 8725)."""

import datetime
import hmac
import json
import time

import pytest

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import wire
from tokens import (ADMIN, SECRET, SETTINGS, Key, as_json, b64, bearer, hash_of, stats,
                    token)

ALGORITHMS = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512",
              "EdDSA"]
RIGHTS = {"bugle": {"publish": ["**"], "subscribe": ["**"], "admin": True}}


def ask(gateway, text):
    return gateway.request_once("GET", "/api/stats", bearer(text))


@pytest.fixture(scope="module")
def keys():
    return {name: Key(name) for name in ALGORITHMS}


@pytest.fixture
def guarded(gateway_factory, keys, tmp_path):
    """A gateway that has one key of each kind."""
    items = ",".join(key.setting(tmp_path) for key in keys.values())
    return gateway_factory(settings={"auth.mode": "token", "auth.jwt_key": items,
                                     "limits.forged_tokens": 0}, workers=1)


def test_every_algorithm_is_taken(guarded, keys):
    """So that a test that lets nobody in is noticed."""
    for name, key in keys.items():
        assert ask(guarded, key.token(RIGHTS)).status == 200, name


def test_libraries_make_tokens_that_are_taken(guarded, keys):
    """What backends use, not only what these tests sign."""
    jwt = pytest.importorskip("jwt")
    claims = {**RIGHTS, "sub": "anna", "exp": int(time.time()) + 60, "nbf": int(time.time())}
    for name in ("HS256", "RS256", "ES256", "EdDSA"):
        key = keys[name].private_pem() if keys[name].private else SECRET
        assert ask(guarded, jwt.encode(claims, key, algorithm=name)).status == 200, name


def self_signed(key):
    """A certificate of a key, which ended long ago."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    start = datetime.datetime(2020, 1, 1)
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
            .public_key(key.private.public_key()).not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=1))
            .sign(key.private, hash_of(key.algorithm))
            .public_bytes(serialization.Encoding.PEM))


def test_keys_come_in_every_form_of_pem(gateway_factory, keys, tmp_path):
    """As issuers publish them: PKCS#1 and certificates, of which the key alone counts."""
    pkcs1 = keys["RS256"].private.public_key().public_bytes(serialization.Encoding.PEM,
                                                            serialization.PublicFormat.PKCS1)
    files = {"RS256": pkcs1, "ES384": self_signed(keys["ES384"]),
             "RS512": b"text before it\n" + self_signed(keys["RS512"])}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_bytes(text)
    items = ",".join(f"{name}:@{tmp_path}/{name}.pem" for name in files)
    gateway = gateway_factory(settings={"auth.mode": "token", "auth.jwt_key": items}, workers=1)
    for name in files:
        assert ask(gateway, keys[name].token(RIGHTS)).status == 200, name
    assert ask(gateway, keys["ES256"].token(RIGHTS)).status == 401
    assert ask(gateway, keys["RS384"].token(RIGHTS)).status == 401


@pytest.mark.gateway(settings=SETTINGS, workers=1)
def test_an_end_in_milliseconds_is_told(gateway):
    """It would be a token for 50,000 years."""
    response = ask(gateway, token(admin=True, ttl=None, exp=int(time.time() * 1000) + 60000))
    assert "milliseconds" in response.problem(401)["detail"]
    assert ask(gateway, Key("HS256").token(RIGHTS, {"alg": "HS256", "typ": "at+jwt"})).status == 200


PROXIED = {**SETTINGS, "server.trusted_proxies": "127.0.0.1", "limits.forged_tokens": 20}


@pytest.mark.gateway(settings=PROXIED, workers=1)
def test_a_flood_of_forged_tokens_is_not_looked_at(gateway):
    """Of one address.  Who is known there, and other addresses, notice nothing; a good token that
    is new is put off once."""
    def show(text, client):
        return gateway.request_once("GET", "/api/stats",
                                    [*bearer(text), ("X-Forwarded-For", client)])

    forger = Key("HS256", "another secret of at least 32 bytes")
    known, fresh = token("anna", admin=True), token("berta", admin=True)
    assert show(known, "192.0.2.1").status == 200
    before = stats(gateway)
    for number in range(2, 100000):
        if show(forger.token({"sub": str(number)}), "192.0.2.1").status == 429:
            break
    assert show(known, "192.0.2.1").status == 200
    response = show(fresh, "192.0.2.1")
    if response.status != 200:
        assert response.problem(429)["code"] == "too_many_forged_tokens"
        assert response.head.get("Retry-After") == "1"
    assert show(token("carl", admin=True), "192.0.2.2").status == 200
    wire.wait_until(lambda: show(fresh, "192.0.2.1").status == 200, 5, "it is looked at again")
    after = stats(gateway)
    assert after["tokens_put_off"] > before["tokens_put_off"]
    assert after["tokens_forged"] >= before["tokens_forged"] + 2


@pytest.mark.gateway(settings=SETTINGS, workers=1)
def test_a_bad_token_is_looked_at_once(gateway):
    text = Key("HS256", "another secret of at least 32 bytes").token(RIGHTS)
    before = stats(gateway)["tokens_verified"]
    for _ in range(5):
        ask(gateway, text).problem(401)
    assert stats(gateway)["tokens_verified"] == before + 1


def spoil(text, at):
    letter = "A" if text[at] != "A" else "B"
    return text[:at] + letter + text[at + 1:]


def hostile_tokens(keys):
    """Name and text of everything that must not be let in."""
    hs, rs, es = keys["HS256"], keys["RS256"], keys["ES256"]
    good = hs.token(RIGHTS)
    head, claims, signature = good.split(".")
    now = int(time.time())

    def unsigned(header):
        return f"{b64(as_json(header))}.{claims}."

    # no signature
    for alg in ("none", "None", "NONE", "nOnE", "", "null"):
        yield f"alg {alg!r}, no signature", unsigned({"alg": alg})
        yield f"alg {alg!r}, a signature", hs.token(RIGHTS, {"alg": alg})
        yield f"alg {alg!r}, two parts", unsigned({"alg": alg}).rstrip(".")
    yield "HS256, signature taken off", f"{head}.{claims}."
    yield "HS256, two parts", f"{head}.{claims}"
    # the public key as a secret
    for name in ("RS256", "ES256", "EdDSA"):
        pem = keys[name].public_pem()
        for secret in (pem, pem.rstrip(b"\n"), pem.replace(b"\n", b"")):
            signed = f"{b64(as_json({'alg': 'HS256'}))}.{claims}"
            mac = hmac.new(secret, signed.encode(), "sha256").digest()
            yield f"HMAC with the public key of {name}", f"{signed}.{b64(mac)}"
    # alg that is not the key's, or no text
    for alg in (["HS256"], {"HS256": 1}, 256, True, None, "hs256", "HS256 ", " HS256", "HS-256",
                "HS257", "PS256", "ES256K", "RS1", "dir", "A128KW"):
        yield f"alg {alg!r}", hs.token(RIGHTS, {"alg": alg})
    yield "no alg", hs.token(RIGHTS, {"typ": "JWT"})
    yield "RS256 said of an HS256 signature", hs.token(RIGHTS, {"alg": "RS256"})
    yield "RS512 said of an RS256 signature", rs.token(RIGHTS, {"alg": "RS512"})
    yield "ES384 said of an ES256 signature", es.token(RIGHTS, {"alg": "ES384"})
    # keys that it brings along
    mine = Key("ES256")
    yield "jwk in the header", mine.token(RIGHTS, {"alg": "ES256", "jwk": mine.jwk()})
    yield "jwk with the kid of ours", mine.token(
        RIGHTS, {"alg": "ES256", "kid": "k", "jwk": mine.jwk(kid="k")})
    for name in ("jku", "x5u"):
        yield name, mine.token(RIGHTS, {"alg": "ES256", name: "https://evil.example/k"})
    yield "x5c", mine.token(RIGHTS, {"alg": "ES256", "x5c": [b64(mine.public_pem())]})
    short = Key("HS256", "x" * 32)
    yield "jwk that is a secret", short.token(
        RIGHTS, {"alg": "HS256", "jwk": {"kty": "oct", "k": b64("x" * 32)}})
    for kid in ("../../../../dev/null", "/dev/null", "' OR 1=1 --", "http://evil.example/", ""):
        yield f"kid {kid!r}, secret of nothing", Key("HS256", "").token(
            RIGHTS, {"alg": "HS256", "kid": kid})
    yield "kid that is a list", hs.token(RIGHTS, {"alg": "HS256", "kid": ["k"]})
    # what the header asks for
    yield "crit", hs.token(RIGHTS, {"alg": "HS256", "crit": ["exp"], "exp": 1})
    yield "crit that is empty", hs.token(RIGHTS, {"alg": "HS256", "crit": []})
    yield "b64 false", hs.token(RIGHTS, {"alg": "HS256", "b64": False, "crit": ["b64"]})
    yield "b64 false alone", hs.token(RIGHTS, {"alg": "HS256", "b64": False})
    yield "zip", hs.token(RIGHTS, {"alg": "HS256", "zip": "DEF"})
    yield "a token in a token", hs.token(as_json(RIGHTS), {"alg": "HS256", "cty": "JWT"})
    for typ in ("JOSE", "secevent+jwt", "dpop+jwt", "", 1, ["JWT"]):
        yield f"typ {typ!r}", hs.token(RIGHTS, {"alg": "HS256", "typ": typ})
    yield "alg twice", hs.token(RIGHTS, '{"alg":"none","alg":"HS256"}')
    yield "header is no object", hs.token(RIGHTS, '["HS256"]')
    yield "header is no JSON", hs.token(RIGHTS, "{alg:HS256}")
    yield "header with a mark before", hs.token(RIGHTS, '\ufeff{"alg":"HS256"}')
    # signatures
    for name in ("RS256", "ES256", "EdDSA", "HS256"):
        whole = keys[name].token(RIGHTS)
        cut = whole.rfind(".")
        yield f"{name}, first of the signature", spoil(whole, cut + 1)
        yield f"{name}, middle of the claims", spoil(whole, whole.find(".") + 20)
        yield f"{name}, signature cut", whole[:-4]
        yield f"{name}, signature longer", whole + "AAAA"
        yield f"{name}, signature of zeros", whole[:cut + 1] + "A" * (len(whole) - cut - 1)
    signed = f"{b64(as_json({'alg': 'ES256'}))}.{claims}"
    der = es.private.sign(signed.encode(), ec.ECDSA(hash_of("ES256")))
    yield "ES256, r and s in DER", f"{signed}.{b64(der)}"
    yield "ES256, r=s=1", f"{b64(as_json({'alg': 'ES256'}))}.{claims}." + b64(
        (1).to_bytes(32, "big") * 2)
    yield "another key", Key("RS256").token(RIGHTS)
    yield "another secret", Key("HS256", SECRET[::-1]).token(RIGHTS)
    # spellings
    yield "padding", good + "="
    yield "padded parts", f"{head}=.{claims}.{signature}"
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield "spare bits", good[:-1] + last[last.index(good[-1]) + 1]
    yield "a line end", good[:-5] + "%0a" + good[-5:]
    yield "four parts", good + ".e30"
    yield "five parts", "e30.." + good
    yield "JSON form", json.dumps({"payload": claims, "protected": head, "signature": signature})
    yield "16 KiB", hs.token({**RIGHTS, "x": "y" * 9000})
    # claims, well signed
    for exp in (str(now + 600), -1, now - 31, 0, None, True, [now + 600], "never", 1.5e300):
        yield f"exp {exp!r}", hs.token({**RIGHTS, "exp": exp})
    yield "exp 1e400", hs.token('{"exp":1e400,"bugle":{"admin":true}}')
    yield "exp twice", hs.token('{"exp":1,"exp":%d,"bugle":{"admin":true}}' % (now + 600))
    yield "exp NaN", hs.token('{"exp":NaN,"bugle":{"admin":true}}')
    yield "nbf ahead", hs.token({**RIGHTS, "nbf": now + 120})
    yield "nbf text", hs.token({**RIGHTS, "nbf": "0"})
    yield "aud of others", hs.token({**RIGHTS, "aud": "shop"})
    yield "aud of nobody", hs.token({**RIGHTS, "aud": []})
    yield "sub empty", hs.token({**RIGHTS, "sub": ""})
    yield "sub of a list", hs.token({**RIGHTS, "sub": ["anna"]})
    yield "sub with a line end", hs.token({**RIGHTS, "sub": "an\nna"})
    yield "admin as a text", hs.token({"bugle": {"admin": "true"}})
    yield "rights twice", hs.token('{"bugle":{},"bugle":{"admin":true}}')
    yield "claims are a list", hs.token([RIGHTS])
    yield "claims with more behind", hs.token(as_json(RIGHTS) + "{}")
    yield "claims not UTF-8", hs.token(b'{"bugle":{"admin":true},"x":"\xff"}')


def test_hostile_tokens_are_refused(guarded, keys):
    """None is let in, each is told that it is no good, and none does any harm."""
    names = []
    for name, text in hostile_tokens(keys):
        response = ask(guarded, text)
        assert response.status in (400, 401, 431), (name, response)
        names.append(name)
        if response.status == 401:
            assert response.head.get("WWW-Authenticate").startswith(
                'Bearer realm="bugle", error="invalid_token"'), name
            response.problem(401)
    assert len(names) >= 100, len(names)
    assert ask(guarded, keys["HS256"].token(RIGHTS)).status == 200


def test_what_a_token_says_is_not_repeated(guarded, keys):
    """An answer about a token has nothing of it."""
    for name, text in hostile_tokens(keys):
        body = ask(guarded, text).body.decode(errors="replace")
        assert "anna" not in body and "evil" not in body, name
        assert not any(part in body for part in text.split(".") if len(part) > 12), name


@pytest.mark.gateway(settings={**SETTINGS, "auth.audience": "bugle", "auth.issuer": "https://id"})
def test_audience_and_issuer_are_asked_for(gateway):
    def status(**claims):
        return ask(gateway, token(admin=True, **claims)).status

    assert status(aud="bugle", iss="https://id") == 200
    assert status(aud=["x", "bugle"], iss="https://id") == 200
    assert status(aud="bugle") == 401
    assert status(iss="https://id") == 401
    assert status(aud="bugle2", iss="https://id") == 401
    assert status(aud="bugle", iss="https://id.evil.example") == 401


@pytest.mark.gateway(settings=SETTINGS, workers=1)
def test_a_token_is_verified_once(gateway):
    """What was seen before costs no signature."""
    text = token(admin=True)
    before = stats(gateway)["tokens_verified"]
    for _ in range(5):
        assert ask(gateway, text).status == 200
    assert stats(gateway)["tokens_verified"] == before + 1
    assert stats(gateway)["tokens_cached"] == 2  # and the one that asks for figures


@pytest.mark.parametrize("item, part", [
    ("HS256:short", "at least 32 bytes"),
    ("none:" + SECRET, "expected HS256"),
    ("RS256:" + SECRET, "neither PEM nor a JWK"),
    ("HS256:@/nowhere", "its file"),
])
def test_keys_that_are_no_good_stop_the_start(bugle, item, part):
    done = bugle("check-config", "--set", "auth.mode=token", "--set", f"auth.jwt_key={item}")
    assert done.returncode == 1 and part in done.stderr, done
    assert SECRET not in done.stderr and "short" not in done.stderr


def test_hmac_with_a_public_key_stops_the_start(bugle, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(Key("ES256").public_pem())
    done = bugle("check-config", "--set", "auth.mode=token", "--set", f"auth.jwt_key=HS256:@{path}")
    assert done.returncode == 1 and "key of another kind" in done.stderr, done


def test_settings_are_printed_without_secrets(bugle):
    done = bugle("check-config", "--set", "auth.mode=token", "--set", f"auth.jwt_key=HS256:{SECRET}")
    assert done.returncode == 0 and "auth.jwt_key = HS256:(not shown)" in done.stdout, done
    assert SECRET not in done.stdout


@pytest.mark.gateway(settings=SETTINGS)
def test_admin_token_of_the_tests_is_good(gateway):
    assert ask(gateway, ADMIN).status == 200
