"""The verifier outside its pure core: one file, live logs, and what its command line says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from affidavit.core.checkpoint import parse_checkpoint
from affidavit.core.note import parse_verifier
from affidavit.core.trust import Demands, Trust
from affidavit.core.verdict import NotChecked, Verdict
from affidavit.verifier.command import Asked, main, verdict_of
from affidavit.verifier.served import Fetch, fetch_over_http, verify_served
from tests.naive_bundle import (
    HEX,
    LOG,
    WITNESS,
    Event,
    Log,
    canonical,
    checkpoint_text,
    history,
    packed,
    root,
)
from tools.join_verifier import imports_of, joined, modules_of

TRUST = Trust.of([parse_verifier(LOG.vkey)])
NOW = 1_780_000_000
BUNDLES = Path(__file__).parents[1] / "vectors" / "bundle-v1"
EXPECTED = json.loads((BUNDLES / "verdicts.json").read_text())


# One file


def test_the_verifier_needs_nothing_but_python() -> None:
    """Every module that it reaches imports the standard library and modules of the verifier only."""
    modules = modules_of()
    assert {"affidavit.core.bundle", "affidavit.core.ed25519", "affidavit.verifier.archive"} <= set(modules)
    for module in modules:
        assert imports_of(module) <= set(modules)
        assert module.startswith(("affidavit.core.", "affidavit.verifier."))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The joined file, alone in a folder."""
    path = tmp_path_factory.mktemp("single") / "affidavit-verify.py"
    path.write_text(joined("1.2.3"), encoding="utf-8")
    return path


def run_alone(single: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the single file with Python alone: no site packages, no environment, another folder."""
    command = [sys.executable, "-I", "-S", "-W", "error", str(single), *arguments]
    return subprocess.run(
        command, cwd=single.parent, env={}, capture_output=True, text=True, check=False, timeout=120
    )


def files(folder: Path) -> Iterator[Path]:
    """Evidence of every kind, good and bad."""
    log = history()
    for name, content in {
        "range.zip": packed(log.bundle()),
        "part.zip": packed(log.bundle(4, 20)),
        "filtered.zip": packed(log.bundle(only=[2, 5, 6])),
        "changed.zip": packed(log.bundle() | {"range.json": b"{}"}),
        "receipt.json": canonical(log.receipt(10)).encode(),
        "table.csv": b"a,b\n",
        "cut.zip": packed(log.bundle())[:-30],
    }.items():
        path = folder / name
        path.write_bytes(content)
        yield path


def test_the_single_file_and_the_package_agree(single: Path, tmp_path: Path) -> None:
    """Same verdict, byte for byte, and same exit code on every vector and on what is broken."""
    codes = set()
    for path in [*files(tmp_path), *(BUNDLES / name for name in EXPECTED)]:
        verdict = verdict_of(Asked(str(path), (LOG.vkey, WITNESS.vkey)), NOW)
        done = run_alone(single, str(path), "--key", LOG.vkey, "--key", WITNESS.vkey, "--json")
        assert json.loads(done.stdout) == verdict.as_json(), path.name
        assert done.returncode == verdict.exit_code
        codes.add(done.returncode)
    assert codes == {0, 1, 2}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_frozen_vectors_verify_for_ever(name: str) -> None:
    """Bundles and receipts of version 1, with what they must be counted as."""
    keys = json.loads((BUNDLES / "keys.json").read_text())
    verdict = verdict_of(Asked(str(BUNDLES / name), (keys["log"], keys["witness"])), NOW)
    assert {key: verdict.as_json()[key] for key in EXPECTED[name]} == EXPECTED[name]
    assert (verdict.sound, verdict.failed) == (True, 0)


def test_the_frozen_bundle_extends_the_frozen_checkpoint() -> None:
    """The kept checkpoint of the vectors is a beginning of their tree."""
    keys = json.loads((BUNDLES / "keys.json").read_text())
    since = str(BUNDLES / "kept.checkpoint")
    for name in ("range.zip", "part.zip", "filtered.zip"):
        assert verdict_of(Asked(str(BUNDLES / name), (keys["log"],), since=since), NOW).exit_code == 0


def test_the_single_file_holds_the_text_of_every_module(single: Path) -> None:
    """An auditor can compare it with the package, module by module."""
    text = single.read_text(encoding="utf-8")
    for module in modules_of():
        source = Path("src", *module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert f"r'''{source}'''" in text


# The command line


def test_no_key_means_no_verdict(tmp_path: Path) -> None:
    """(case 42) Without a key from outside nothing can be believed."""
    path = tmp_path / "b.zip"
    path.write_bytes(packed(history().bundle()))
    verdict = verdict_of(Asked(str(path)), NOW)
    assert verdict.exit_code == 2
    assert "no key of a log was given" in str(verdict.not_checked)


@pytest.mark.parametrize(
    "asked",
    [
        Asked("x", ("not a key",)),
        Asked("x", (LOG.vkey[:-2] + "AA",)),
        Asked("x", (WITNESS.vkey,)),
        Asked("x", (LOG.vkey,), policy="missing"),
        Asked("x", (LOG.vkey,), since="missing"),
        Asked("x", (LOG.vkey,), span="5"),
        Asked("x", (LOG.vkey,), span="-1:4"),
        Asked("x", (LOG.vkey,), span="1:٣"),
        Asked("x", (LOG.vkey,), max_age=-1),
        Asked("http://example/log", (LOG.vkey,)),
        Asked("http://user:pw@example/log/" + HEX + "/1", (LOG.vkey,)),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(asked: Asked) -> None:
    """Bad keys, policies, kept checkpoints, ranges, ages and addresses: exit 2, with the reason."""
    verdict = verdict_of(asked, NOW)
    assert (verdict.exit_code, verdict.sound) == (2, False)
    assert verdict.not_checked


def test_a_policy_file_gives_keys_and_quorum(tmp_path: Path) -> None:
    """A policy alone is enough, and its quorum is demanded."""
    bundle, policy = tmp_path / "b.zip", tmp_path / "policy"
    bundle.write_bytes(packed(history().bundle()))
    policy.write_text(f"log {LOG.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n")
    assert verdict_of(Asked(str(bundle), policy=str(policy)), NOW).sound
    policy.write_bytes(b"\xff\n")
    assert verdict_of(Asked(str(bundle), policy=str(policy)), NOW).exit_code == 2


def test_a_kept_checkpoint_must_be_one(tmp_path: Path) -> None:
    """--since takes a checkpoint that a trusted key has signed, and compares it."""
    log = history()
    bundle, kept = tmp_path / "b.zip", tmp_path / "kept"
    bundle.write_bytes(packed(log.bundle()))
    kept.write_bytes(log.checkpoint(25))
    assert verdict_of(Asked(str(bundle), (LOG.vkey,), since=str(kept)), NOW).exit_code == 0
    text = checkpoint_text(25, root(log.hashes[1:26]))
    kept.write_text(f"{text}\n{LOG.sign(text)}")
    assert verdict_of(Asked(str(bundle), (LOG.vkey,), since=str(kept)), NOW).exit_code == 1
    kept.write_text(text)
    assert verdict_of(Asked(str(bundle), (LOG.vkey,), since=str(kept)), NOW).exit_code == 2


def test_main_prints_a_verdict_and_returns_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON where standard output is no terminal; the reason also on standard error."""
    path = tmp_path / "b.zip"
    path.write_bytes(packed(history().bundle()))
    assert main([str(path), "--key", LOG.vkey]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] == 32
    assert main([str(tmp_path / "none"), "--key", LOG.vkey]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.out)["sound"] is False
    assert "could not be checked" in shown.err


# Live logs


def tiles_of(log: Log) -> dict[str, bytes]:
    """What a server of this log answers, as tlog-tiles defines it; trees of less than 1,000 tiles."""
    found = {"checkpoint": log.checkpoint()}
    hashes, level = log.hashes, 0
    entries = [event.entry for event in log.events]
    for start in range(0, len(entries), 256):
        part = entries[start : start + 256]
        bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in part)
        found[named("entries", start // 256, len(part))] = bundle
    while hashes:
        for start in range(0, len(hashes), 256):
            part = hashes[start : start + 256]
            found[named(str(level), start // 256, len(part))] = b"".join(part)
        hashes = [root(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    return found


def named(level: str, index: int, width: int) -> str:
    """The path of a tile below index 1000."""
    return f"tile/{level}/{index:03}" + (f".p/{width}" if width < 256 else "")


def fetch_from(served: dict[str, bytes]) -> Fetch:
    """Answers out of a mapping."""
    return lambda path, limit: served.get(path)


def live(served: dict[str, bytes], **demands: object) -> Verdict:
    """The verdict on a served log."""
    return verify_served(fetch_from(served), TRUST, Demands(**demands))  # type: ignore[arg-type]


def grown(count: int = 600) -> Log:
    """A log over several tiles."""
    return Log([Event(number) for number in range(count)])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_a_live_log_is_recomputed_from_its_entries(size: int) -> None:
    """The whole tree, at sizes around the tiles."""
    verdict = live(tiles_of(grown(size)))
    assert (verdict.sound, verdict.verified, verdict.end, verdict.complete) == (True, size, size, "range")
    assert any("no values" in text for text in verdict.warnings)


@pytest.mark.parametrize("span", [(0, 1), (100, 300), (255, 257), (512, None), (599, 600), (300, 300)])
def test_a_range_of_a_live_log_fetches_only_its_entries(span: tuple[int, int | None]) -> None:
    """Bundles of entries outside the range are not asked for."""
    served = tiles_of(grown())
    asked: list[str] = []

    def fetch(path: str, limit: int) -> bytes | None:
        asked.append(path)
        return served.get(path)

    verdict = verify_served(fetch, TRUST, Demands(span=span))
    end = 600 if span[1] is None else span[1]
    assert (verdict.sound, verdict.verified) == (True, end - span[0])
    touched = {index // 256 for index in range(span[0], end)}
    assert sum("entries" in path for path in asked) == len(touched)


def test_a_range_beyond_a_live_log_fails() -> None:
    """(case 66) There is no entry 600."""
    assert live(tiles_of(grown()), span=(0, 601)).exit_code == 1


def broken(content: bytes) -> bytes:
    """One bit of the middle changed."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("path", [path for path in tiles_of(grown()) if path != "checkpoint"])
@pytest.mark.parametrize("change", [broken, lambda content: content[:-1], lambda content: b""])
def test_every_tile_counts(path: str, change: Callable[[bytes], bytes]) -> None:
    """(case 1) A changed, a half-written and an empty tile of each level, entries too."""
    served = tiles_of(grown())
    verdict = live(served | {path: change(served[path])})
    assert verdict.exit_code == 1
    assert live(served | {path: change(served[path])}, span=(200, 520)).exit_code == 1


def test_an_edited_entry_of_a_live_log_is_named() -> None:
    """(case 1) The tile still has the hash that was signed."""
    log = grown()
    served = tiles_of(log)
    served["tile/entries/001"] = served["tile/entries/001"].replace(b'"success"', b'"failure"', 1)
    verdict = live(served)
    assert [(each.position, each.what) for each in verdict.failures] == [(256, "entry")]
    assert verdict.verified == 599
    assert live(served, span=(256, 258)).verified == 1


def test_an_entry_and_its_tile_forged_together_are_found() -> None:
    """(case 29b) Entry and level-0 tile agree, the tree above was signed."""
    honest, forged = grown(), grown()
    forged.events[300].action = "user.other"
    lying = tiles_of(forged)
    served = tiles_of(honest) | {path: lying[path] for path in ("tile/0/001", "tile/entries/001")}
    verdict = live(served)
    assert (verdict.exit_code, verdict.verified) == (1, 0)
    assert live(served, span=(300, 301)).verified == 0


def test_pruned_entries_are_taken_from_the_hashes() -> None:
    """(case 62) A bundle that is gone, or an entry of length 0: the hash stands in the tile."""
    served = tiles_of(grown())
    gone = dict(served)
    del gone["tile/entries/000"]
    verdict = live(gone)
    assert (verdict.sound, verdict.pruned, verdict.verified) == (True, 256, 344)
    first = int.from_bytes(served["tile/entries/000"][:2], "big")
    one = served | {"tile/entries/000": b"\0\0" + served["tile/entries/000"][2 + first :]}
    assert (live(one).pruned, live(one).verified) == (1, 599)


def test_a_log_that_grew_meanwhile_still_verifies() -> None:
    """Partial tiles of the old size may be gone: the full ones have what is needed."""
    log = grown(300)
    later = tiles_of(grown(600))
    assert live(later | {"checkpoint": log.checkpoint()}).verified == 300


def test_a_kept_checkpoint_is_compared_with_the_live_log() -> None:
    """(cases 9, 11, 13) Rewritten, forked and rolled back logs contradict it."""
    log = grown(300)
    for size in (1, 100, 256, 299, 300):
        kept = parse_checkpoint(checkpoint_text(size, root(log.hashes[:size])))
        other = parse_checkpoint(checkpoint_text(size, root([*log.hashes[:size][::-1], bytes(32)])))
        assert live(tiles_of(log), since=kept).exit_code == 0
        assert live(tiles_of(log), since=other).exit_code == 1
    longer = parse_checkpoint(checkpoint_text(301, root(log.hashes)))
    assert "rollback" in live(tiles_of(log), since=longer).failures[0].rule


class _Handler(BaseHTTPRequestHandler):
    served: dict[str, bytes]
    token: str | None = None

    def do_GET(self) -> None:
        path = self.path.removeprefix(f"/log/{HEX}/1/")
        if path.startswith("away"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
        elif self.token is not None and self.headers["Authorization"] != f"Bearer {self.token}":
            self.send_error(401)
        elif path in self.served:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.served[path])
        else:
            self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, type[_Handler]]]:
    """A log over real HTTP, by the standard library."""
    handler = type("Handler", (_Handler,), {"served": tiles_of(grown(300))})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as opened:
        thread = threading.Thread(target=opened.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.server_port}/log/{HEX}/1", handler
        finally:
            opened.shutdown()
            thread.join()


def test_a_live_log_is_verified_over_http(server: tuple[str, type[_Handler]]) -> None:
    """With the token as bearer; the address of the checkpoint is as good as that of the log."""
    address, handler = server
    handler.token = "t0ken"
    verdict = verdict_of(Asked(address, (LOG.vkey,), token="t0ken"), NOW)
    assert (verdict.sound, verdict.verified) == (True, 300)
    assert verdict_of(Asked(f"{address}/checkpoint", (LOG.vkey,), token="t0ken"), NOW).sound
    refused = verdict_of(Asked(address, (LOG.vkey,)), NOW)
    assert refused.exit_code == 2
    assert "log:read" in str(refused.not_checked)


def test_a_server_that_is_away_or_sends_elsewhere_gets_no_verdict(server: tuple[str, type[_Handler]]) -> None:
    """Nothing listens, nothing is there, a redirect that would carry the token away: exit 2."""
    address, handler = server
    gone = verdict_of(Asked(f"http://127.0.0.1:1/log/{HEX}/1", (LOG.vkey,)), NOW)
    assert gone.exit_code == 2
    handler.served = {}
    assert verdict_of(Asked(address, (LOG.vkey,)), NOW).exit_code == 2
    with pytest.raises(NotChecked, match="302"):
        fetch_over_http(address, "t")("away", 10)


def test_an_oversized_answer_is_refused(server: tuple[str, type[_Handler]]) -> None:
    """(case 44) What is longer than a tile can be is not read on."""
    address, handler = server
    handler.served = handler.served | {"tile/0/000": bytes(256 * 32 + 1)}
    assert verdict_of(Asked(address, (LOG.vkey,)), NOW).exit_code == 1
