# SPDX-License-Identifier: MIT
"""Keys and signed tokens for tests, good ones and bad ones: what is signed is what the test wrote,
byte for byte."""

import base64
import hashlib
import hmac
import json
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
API_KEY = "bugle_abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"


def b64(data):
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value):
    """Text is taken as it is, so that it can be wrong."""
    return value if isinstance(value, (str, bytes)) else json.dumps(value, separators=(",", ":"))


def hash_of(name):
    return {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[name[-3:]]()


class Key:
    """A key for one algorithm, and its setting."""

    def __init__(self, algorithm, secret=SECRET):
        self.algorithm = algorithm
        self.secret = secret
        if algorithm.startswith("RS"):
            self.private = rsa.generate_private_key(65537, 2048)
        elif algorithm.startswith("ES"):
            curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
            self.private = ec.generate_private_key(curve[algorithm]())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = None

    def public_pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def private_pem(self):
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption())

    def setting(self, folder):
        """The item of auth.jwt_key; a public key goes into a file."""
        if self.private is None:
            return f"{self.algorithm}:{self.secret}"
        path = folder / f"{self.algorithm}.pem"
        path.write_bytes(self.public_pem())
        return f"{self.algorithm}:@{path}"

    def jwk(self, **members):
        public = self.private.public_key()
        if self.algorithm.startswith("RS"):
            numbers = public.public_numbers()
            jwk = {"kty": "RSA", "n": b64(numbers.n.to_bytes(256, "big")), "e": "AQAB"}
        elif self.algorithm.startswith("ES"):
            numbers, size = public.public_numbers(), (public.curve.key_size + 7) // 8
            jwk = {"kty": "EC", "crv": f"P-{public.curve.key_size}",
                   "x": b64(numbers.x.to_bytes(size, "big")),
                   "y": b64(numbers.y.to_bytes(size, "big"))}
        else:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        return {**jwk, **members}

    def sign(self, data):
        if self.private is None:
            name = "sha" + self.algorithm[-3:]
            return hmac.new(self.secret.encode(), data, name).digest()
        if self.algorithm.startswith("RS"):
            return self.private.sign(data, padding.PKCS1v15(), hash_of(self.algorithm))
        if self.algorithm.startswith("ES"):
            der = self.private.sign(data, ec.ECDSA(hash_of(self.algorithm)))
            size = (self.private.curve.key_size + 7) // 8
            return b"".join(part.to_bytes(size, "big") for part in utils.decode_dss_signature(der))
        return self.private.sign(data)

    def token(self, claims, header=None):
        """A token whose header and claims are what was given: JSON of a value, or a text."""
        header = {"alg": self.algorithm, "typ": "JWT"} if header is None else header
        signed = f"{b64(as_json(header))}.{b64(as_json(claims))}"
        return f"{signed}.{b64(self.sign(signed.encode()))}"


def token(user=None, publish=(), subscribe=(), admin=False, ttl=600, key=None, **claims):
    """A good token of the usual key."""
    rights = {"publish": list(publish), "subscribe": list(subscribe), "admin": admin}
    claims = {"bugle": rights, **claims}
    if user is not None:
        claims["sub"] = user
    if ttl is not None:
        claims["exp"] = int(time.time()) + ttl
    return (key or Key("HS256")).token(claims)


def bearer(text):
    return [("Authorization", f"Bearer {text}")]


def api_key_item(name, rights, key=API_KEY, salt=b"0123456789abcdef"):
    digest = hashlib.sha256(salt + key.encode()).digest()
    return f"{name}:{rights}:sha256.{b64(salt)}.{b64(digest)}"


ADMIN = token(publish=["**"], subscribe=["**"], admin=True, ttl=None)
SETTINGS = {"auth.mode": "token", "auth.jwt_key": f"HS256:{SECRET}"}


def stats(gateway):
    return gateway.request("GET", "/api/stats", bearer(ADMIN)).json()
