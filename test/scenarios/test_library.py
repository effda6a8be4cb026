# SPDX-License-Identifier: MIT
"""The HTTP library that is loaded is tried at the start: one that behaves otherwise is found, and the
gateway does without what leans on that, or does not start."""

import pytest

import conftest
import wire
from test_tls import Pair

pytestmark = pytest.mark.skipif(wire.SLOW > 1, reason="a sanitizer wants to be loaded first")

NEEDED = {
    "late": "only after it was added",
    "reads": "reads from a connection that is suspended",
    "heads": "does not keep heads where they can be read",
    "room": "has no room for an answer",
    "crashes": "crashes when kept connections are tried",
    "hangs": "does not come back when kept connections are tried",
}
SPARED = {
    "chunks": "streams do not send by themselves",
    "speaks": "sends wrong bytes after an answer that the gateway wrote to the socket",
    "copies": "each answer is built from scratch",
    "pool": "idle streams with large heads keep their memory",
}


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return conftest.build_shim(tmp_path_factory.mktemp("shim"), "mhd_shim")


def env(shim, otherwise):
    return {"LD_PRELOAD": str(shim), "MHD_SHIM": otherwise}


@pytest.mark.parametrize("otherwise", NEEDED)
def test_what_safety_needs_is_refused_without(bugle, shim, otherwise):
    done = bugle("serve", "--listen", f"127.0.0.1:{conftest.free_port()}", "--store", "memory:",
                 env=env(shim, otherwise))
    assert done.returncode == 1
    assert f"{NEEDED[otherwise]}" in done.stderr
    assert "use a tested version" in done.stderr
    assert "is ready" not in done.stderr


def test_a_session_in_use_is_refused_where_there_is_tls(bugle, shim, tmp_path):
    pair = Pair(tmp_path, "pair")
    done = bugle("serve", "--listen", f"127.0.0.1:{conftest.free_port()}", "--store", "memory:",
                 "--set", f"tls.listen=127.0.0.1:{conftest.free_port()}",
                 "--set", f"tls.certificate={pair.certificate}", "--set", f"tls.key={pair.key}",
                 env=env(shim, "session"))
    assert done.returncode == 1
    assert "gives no access to the TLS session" in done.stderr


@pytest.mark.parametrize("otherwise", SPARED)
def test_what_is_speed_or_memory_is_done_without(gateway_factory, shim, otherwise):
    gateway = gateway_factory(workers=1, env=env(shim, otherwise))
    gateway.wait_log(SPARED[otherwise])
    stream = gateway.stream("a", headers=[("Cookie", "c=" + "x" * 9000)])
    for i, size in enumerate([10, 3000, 60_000, 10]):
        gateway.push({"topic": "a", "data": f"{i}" * size})
        assert stream.next_event().data == f"{i}" * size


def test_the_library_that_is_installed_has_all(gateway_factory):
    gateway = gateway_factory(workers=1)
    gateway.wait_log("is ready")
    assert "libmicrohttpd" not in gateway.log()
