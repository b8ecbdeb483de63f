"""From what clients said in a visit to what can be used, by client id, with a reason for all that cannot."""

from collections import Counter
from collections.abc import Collection, Iterable
from math import isfinite

from strategies.adapters import ranks, reranked
from strategies.faults import LARGEST_SUM, MOST_ROWS, unscored, unusable, wrong_arrays
from strategies.messages import Answer, Arrays, Refusal, Reply, Report, Score, Tuned

Said = Iterable[tuple[int, Reply]]  # the client that was asked, its reply
Failed = dict[int, str]  # client → why


def reports(
    said: Said, invited: dict[str, list[int]], current: dict[str, Arrays]
) -> tuple[dict[str, list[Report]], Failed]:
    """By arm, the updates that may be averaged."""
    usable: dict[str, list[Report]] = {arm: [] for arm in invited}
    failed: Failed = {}
    for client, reply in sorted(said, key=lambda pair: pair[0]):
        if not isinstance(reply, list):
            failed[client] = other(reply, "reports")
            continue
        wrong = []
        trained = [report for report in reply if isinstance(report, Report)]
        for report in trained:
            if report.client != client:
                wrong.append(f"says it is client {report.client}")
            elif client not in invited.get(report.arm, []):
                wrong.append(f"reports on {report.arm}, which it was not asked to train")
            elif usable[report.arm] and usable[report.arm][-1].client == client:
                wrong.append(f"reports on {report.arm} twice")
            elif fault := unusable(report, current[report.arm]):
                wrong.append(fault)
            else:
                usable[report.arm].append(report)
        silent = {arm for arm in invited if client in invited[arm]} - {report.arm for report in trained}
        wrong += [f"sent no report on {arm}" for arm in sorted(silent)]
        if wrong:
            failed[client] = "; ".join(wrong)
    return usable, failed


def scores(said: Said, arms: Collection[str]) -> tuple[list[Score], Failed]:
    """The clients' scores of the final arrays."""
    usable: list[Score] = []
    failed: Failed = {}
    for client, reply in sorted(said, key=lambda pair: pair[0]):
        if not isinstance(reply, Score):
            failed[client] = other(reply, "a score")
        elif reply.client != client:
            failed[client] = f"says it is client {reply.client}"
        elif fault := unscored(reply, arms):
            failed[client] = fault
        else:
            usable.append(reply)
    known = Counter(len(score.confusion[arm]) for score in usable for arm in arms).most_common(1)
    for score in usable:
        if any(len(score.confusion[arm]) != known[0][0] for arm in arms):
            failed[score.client] = f"knows another number of classes than {known[0][0]}, which most clients know"
    return [score for score in usable if score.client not in failed], failed


def answers(said: Said) -> tuple[list[Answer], Failed]:
    """The clients' statistics of a stage; whoever sends other arrays than most clients do is left out."""
    usable: list[Answer] = []
    failed: Failed = {}
    for client, reply in sorted(said, key=lambda pair: pair[0]):
        if not isinstance(reply, Answer):
            failed[client] = other(reply, "an answer")
        elif reply.client != client:
            failed[client] = f"says it is client {reply.client}"
        elif not (1 <= reply.examples <= MOST_ROWS and isfinite(reply.seconds)):
            failed[client] = f"answers for {reply.examples} rows after {reply.seconds} s"
        else:
            usable.append(reply)
    common = commonest([answer.arrays for answer in usable])
    failed |= {
        answer.client: fault for answer in usable if (fault := wrong_arrays(answer.arrays, common, largest=LARGEST_SUM))
    }
    return [answer for answer in usable if answer.client not in failed], failed


def adapters(said: Said, current: Arrays, *, asked: bool, any_rank: bool) -> tuple[list[Tuned], Failed]:
    """The clients' teachers; whoever sends another adapter than the current one, or than most clients do, is left out.

    So is whose adapter lies on other frozen weights than those of most: averaged with them it would mean nothing.
    With `any_rank` a LoRA pair may have a rank of its own.
    """
    usable: list[Tuned] = []
    failed: Failed = {}
    for client, reply in sorted(said, key=lambda pair: pair[0]):
        sent = [one for one in reply if isinstance(one, Tuned)] if isinstance(reply, list) else []
        if isinstance(reply, list) and len(sent) != asked:
            failed[client] = f"sent {len(sent)} adapters, not {int(asked)}"
        elif sent and sent[0].client != client:
            failed[client] = f"sent the adapter of client {sent[0].client}"
        elif sent and not 1 <= sent[0].examples <= MOST_ROWS:
            failed[client] = f"tuned its teacher on {sent[0].examples} rows"
        else:
            usable += sent
    common = current or commonest(
        [reranked(one.arrays, dict.fromkeys(ranks(one.arrays), 0)) if any_rank else one.arrays for one in usable]
    )
    base = Counter(one.base for one in usable).most_common(1)[0][0] if usable else ""
    for one in usable:
        wanted = reranked(common, ranks(one.arrays)) if any_rank else common
        if one.base != base:
            failed[one.client] = f"adapter: it lies on the LLM {one.base}, those of most clients on {base}"
        elif fault := wrong_arrays(one.arrays, wanted, "adapter: "):
            failed[one.client] = fault
    return [one for one in usable if one.client not in failed], failed


def commonest(sent: list[Arrays]) -> Arrays:
    """The first of those whose names, shapes and types most have."""
    forms = [tuple((name, a.shape, a.dtype.str) for name, a in sorted(arrays.items())) for arrays in sent]
    return sent[forms.index(Counter(forms).most_common(1)[0][0])] if sent else {}


def other(reply: Reply, wanted: str) -> str:
    """Why a reply of another kind is none."""
    return reply.reason if isinstance(reply, Refusal) else f"sent {type(reply).__name__.lower()}, not {wanted}"
