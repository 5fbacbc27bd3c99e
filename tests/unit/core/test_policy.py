"""Policies: the four lines, what is refused with its line number, and when a quorum is reached."""

from __future__ import annotations

from base64 import b64encode
from itertools import combinations

import pytest

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.note import COSIGNATURE, ED25519, key_id
from affidavit.core.policy import Group, LogKey, Witness, parse_policy
from affidavit.core.unsound import Malformed, UnknownSigner
from tests.signers import Signer, signed

LOG, OTHER = Signer("log.example/1"), Signer("log.example/2")
X1, X2, X3, Y1, Y2, Y3 = (Signer.witness(f"{name}.example") for name in ("x1", "x2", "x3", "y1", "y2", "y3"))
LOG_VKEY, OTHER_VKEY = LOG.verifier.vkey, OTHER.verifier.vkey

SIX = "".join(
    f"witness {name} {signer.verifier.vkey}\n"
    for name, signer in zip(("X1", "X2", "X3", "Y1", "Y2", "Y3"), (X1, X2, X3, Y1, Y2, Y3), strict=True)
)
TWO_OF_X_AND_ONE_OF_Y = (
    f"log {LOG_VKEY}\n{SIX}group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n"
    "group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
)


def test_a_policy_is_read() -> None:
    """Logs and witnesses with and without a URL, groups after their members, the quorum, comments, blanks."""
    policy = parse_policy(
        "# who\n"
        "\n"
        f"log {LOG_VKEY} https://log.example/1\n"
        f" \tlog \t {OTHER_VKEY}\t \n"
        f"witness X1 {X1.verifier.vkey}\n"
        f"witness Кельвин {X2.verifier.vkey} https://x2.example\n"
        "   # a comment with\ttab and ünïcode\n"
        "group both all X1 Кельвин\n"
        "quorum both\n"
    )
    assert policy.logs == (LogKey(LOG.verifier, "https://log.example/1"), LogKey(OTHER.verifier))
    assert policy.witnesses == (
        Witness("X1", X1.verifier),
        Witness("Кельвин", X2.verifier, "https://x2.example"),
    )
    assert policy.groups == (Group("both", 2, ("X1", "Кельвин")),)
    assert policy.quorum == "both"
    assert policy.log_keys == (LOG.verifier, OTHER.verifier)
    assert policy.witness_keys == (X1.verifier, X2.verifier)


def test_the_quorum_of_the_example() -> None:
    """Two of three X and one of three Y: every set of witnesses is judged as counting by hand judges it."""
    policy = parse_policy(TWO_OF_X_AND_ONE_OF_Y)
    xs, ys = {X1, X2, X3}, {Y1, Y2, Y3}
    reached = 0
    for count in range(7):
        for chosen in combinations((X1, X2, X3, Y1, Y2, Y3), count):
            cosigners = [each.verifier for each in chosen]
            if len(xs & set(chosen)) >= 2 and ys & set(chosen):
                policy.check_quorum(cosigners)
                reached += 1
            else:
                with pytest.raises(UnknownSigner, match="quorum is not reached"):
                    policy.check_quorum(cosigners)
    assert reached == 4 * 7


def test_a_quorum_of_one_witness() -> None:
    """That one and no other."""
    policy = parse_policy(f"{SIX}quorum X2\n")
    policy.check_quorum([X2.verifier])
    for cosigners in ([], [X1.verifier, Y1.verifier]):
        with pytest.raises(UnknownSigner, match="X2 has not cosigned"):
            policy.check_quorum(cosigners)


def test_no_quorum_is_always_reached() -> None:
    """``quorum none`` says so in words; an empty policy says nothing and is refused."""
    parse_policy("quorum none\n").check_quorum([])
    with pytest.raises(Malformed, match="must have a quorum line"):
        parse_policy("# nothing\n")


def test_one_witness_counts_once() -> None:
    """The same cosigner twice, or a stranger under the same name, is not a second witness."""
    policy = parse_policy(f"{SIX}group two 2 X1 X2\nquorum two\n")
    impostor = Signer.witness("x2.example", seed="other").verifier
    with pytest.raises(UnknownSigner, match="has 1 of 2, missing of X2"):
        policy.check_quorum([X1.verifier, X1.verifier, impostor])


@pytest.mark.parametrize("threshold", ["any", "all", "1", "2", "3"])
def test_thresholds(threshold: str) -> None:
    """Any is one of them, all is each of them, a number is itself."""
    policy = parse_policy(f"{SIX}group g {threshold} X1 X2 X3\nquorum g\n")
    needed = {"any": 1, "all": 3}.get(threshold) or int(threshold)
    cosigners = [X1.verifier, X2.verifier, X3.verifier]
    policy.check_quorum(cosigners[:needed])
    with pytest.raises(UnknownSigner):
        policy.check_quorum(cosigners[: needed - 1])


def test_a_stolen_log_key_alone_does_not_reach_a_quorum() -> None:
    """(case 43) The signature of the log is good, the cosignatures are missing."""
    policy = parse_policy(TWO_OF_X_AND_ONE_OF_Y)
    text = f"{LOG.name}\n7\n{b64encode(bytes(32)).decode()}\n"
    forged = open_checkpoint(signed(text, LOG.line(text)), policy.log_keys, policy.witness_keys)
    assert forged.signers == (LOG.verifier,)
    with pytest.raises(UnknownSigner, match="X-and-Y has 0 of 2"):
        policy.check_quorum(witness for witness, _ in forged.cosigned)
    lines = [each.line(text) for each in (LOG, X1, X3, Y2)]
    honest = open_checkpoint(signed(text, *lines), policy.log_keys, policy.witness_keys)
    policy.check_quorum(witness for witness, _ in honest.cosigned)
    assert len(honest.cosigned) == 3


def small_order(kind: int) -> str:
    """The verifier key that accepts one signature for everything, if anybody lets it."""
    key = bytes([1]) + bytes(31)
    encoded = b64encode(bytes([kind]) + key).decode()
    return f"evil.example+{key_id('evil.example', kind, key).hex()}+{encoded}"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Log x", "must begin with log, witness, group or quorum"),
        ("logs x", "must begin with"),
        ("log", "wrong number of words for log"),
        (f"log {OTHER_VKEY} https://a https://b", "wrong number of words"),
        (f"witness {X2.verifier.vkey}", "wrong number of words for witness"),
        (f"witness W {X2.verifier.vkey} https://a b", "wrong number of words"),
        ("group g", "wrong number of words for group"),
        ("group g any", "wrong number of words for group"),
        ("quorum", "wrong number of words for quorum"),
        ("quorum X1 X1", "wrong number of words"),
        ("log nonsense", "key that cannot be used"),
        (f"log {small_order(ED25519)}", "small order"),
        (f"witness W {small_order(COSIGNATURE)}", "small order"),
        (f"log {X2.verifier.vkey}", "type 0x01"),
        (f"witness W {OTHER_VKEY}", "type 0x04"),
        (f"log {LOG_VKEY}", "repeats a public key"),
        (f"witness W {X1.verifier.vkey}", "repeats a public key"),
        (f"witness X1 {X2.verifier.vkey}", "must not define this name"),
        (f"witness none {X2.verifier.vkey}", "must not define this name"),
        ("group X1 any X1", "must not define this name"),
        ("group none any X1", "must not define this name"),
        ("group g any nobody", "no line before it has defined"),
        ("group g any g", "no line before it has defined"),
        ("group g any none", "no line before it has defined"),
        ("group g all X1 X1", "a member that a group has already"),
        ("group g 0 X1", "at least 1"),
        ("group g 2 X1", "from 0 to 1"),
        ("group g 01 X1", "without leading zeros"),
        ("group g +1 X1", "decimal number"),
        ("group g most X1", "decimal number"),
        ("quorum nobody", "no line before it has defined"),
        ("quorum x1", "no line before it has defined"),
        ("quorum X1\u00a0", "no line before it has defined"),
        ("log\u00a0" + OTHER_VKEY, "must begin with"),
        ("quorum X1\r", "control character"),
        ("# comment \x00", "control character"),
        ("# comment \x7f", "control character"),
    ],
)
def test_bad_lines_are_refused_with_their_number(line: str, rule: str) -> None:
    """Line 4, whatever is wrong with it."""
    text = f"log {LOG_VKEY}\n\nwitness X1 {X1.verifier.vkey}\n{line}\nquorum none\n"
    with pytest.raises(Malformed, match="line 4 of the policy") as caught:
        parse_policy(text)
    assert rule in caught.value.message


def test_a_name_is_a_member_of_one_group_only() -> None:
    """Otherwise one witness could count twice."""
    with pytest.raises(Malformed, match="line 8 of the policy must not name a member"):
        parse_policy(f"{SIX}group g any X1 X2\ngroup h any X2 X3\nquorum g\n")


def test_one_key_under_two_names_is_one_key() -> None:
    """Another name or type does not make it another witness, nor the log its own witness."""
    key = LOG.private.public_key().public_bytes_raw()
    renamed = (
        f"new.example+{key_id('new.example', ED25519, key).hex()}+{b64encode(bytes([1]) + key).decode()}"
    )
    cosigner = (
        f"w.example+{key_id('w.example', COSIGNATURE, key).hex()}+{b64encode(bytes([4]) + key).decode()}"
    )
    for line in (f"log {renamed}", f"witness w {cosigner}"):
        with pytest.raises(Malformed, match="line 2 of the policy repeats a public key"):
            parse_policy(f"log {LOG_VKEY}\n{line}\nquorum none\n")


def test_exactly_one_quorum() -> None:
    """A second one is refused, also where it says the same."""
    with pytest.raises(Malformed, match="line 2 of the policy must not be a second quorum"):
        parse_policy("quorum none\nquorum none\n")


def test_a_policy_that_was_cut_off_is_refused() -> None:
    """A last line without its end may have said something else: ``quorum none`` of ``quorum nonempty``."""
    for text in ("quorum none", "", "quorum non", "quorum none ", "quorum nonempty"):
        with pytest.raises(Malformed, match="each with its newline"):
            parse_policy(text)


def test_names_that_only_look_alike_are_different() -> None:
    """(case 47) The Kelvin sign is not K, and nothing is folded or normalised."""
    text = f"witness K {X1.verifier.vkey}\nwitness \u212a {X2.verifier.vkey}\nquorum \u212a\n"
    with pytest.raises(UnknownSigner):
        parse_policy(text).check_quorum([X1.verifier])


def test_large_policies() -> None:
    """100 logs, witnesses and groups, nested 100 deep; beyond a million characters it is refused unread."""
    lines = []
    for number in range(100):
        lines.append(f"log {Signer(f'log-{number}').verifier.vkey}")
        lines.append(f"witness w{number} {Signer.witness(f'w-{number}').verifier.vkey}")
        lines.append(f"group g{number} all w{number}" + (f" g{number - 1}" if number else ""))
    policy = parse_policy("\n".join([*lines, "quorum g99\n"]))
    policy.check_quorum(policy.witness_keys)
    with pytest.raises(UnknownSigner):
        policy.check_quorum(policy.witness_keys[1:])
    with pytest.raises(Malformed, match="1000000 characters"):
        parse_policy("#" * 1_000_000 + "\n")
