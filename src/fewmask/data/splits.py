"""Who plays which role: labelled, unlabelled, val and test, by whole patients; kept in split.json.

What the user asks for comes first, then the data set's own lists, then the defaults.  Counts are of groups (patients,
sequences) with masks, in the order of the lists `labelled` and `train`, else in one drawn from the seed: labelled from
its start, val from its end, test before val.  So a larger budget contains the smaller one, and val and test stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from fewmask.config import nearest
from fewmask.data.budget import frames_in_turn
from fewmask.data.casetable import Catalogue
from fewmask.data.layouts.found import natural
from fewmask.data.split_request import Exemplar, Request, case_of, read_request
from fewmask.errors import DataError
from fewmask.seeding import generator
from fewmask.types import ROLES, Split

DECIDED = ("labelled", "val", "test")
"""Roles that are chosen; everything else is unlabelled."""


def choose_split(
    catalogue: Catalogue,
    labelled: str | Exemplar | None,
    val: str | None = None,
    test: str | None = None,
    seed: int = 0,
) -> tuple[Split, tuple[str, ...]]:
    """The split, and a line of explanation for each role.

    labelled, val and test are each "N" groups; "N%" of the groups with masks that no list holds out; a file with one
    case, case:slice or group a line, or a split.json; or one such name.  None: the data set's list, else the default:
    every case with a mask is labelled; val is empty for 1 or 2 labelled groups, one group for 3 to 9, and 20 % of their
    number for more; test is empty.

    SettingsError for an amount that cannot be meant; DataError where there are too few groups, a name is no case, or a
    patient would play two roles.
    """
    if not any(case.label for case in catalogue.cases):
        raise DataError(
            f"{catalogue.name}: no image has a mask; draw at least one, put it beside the images, scan again"
        )
    if isinstance(labelled, str) and labelled.lower().endswith(".json"):
        val, test = val or labelled, test or labelled
    asked = {"labelled": labelled, "val": val, "test": test}
    requests = {role: read_request(text, role, catalogue) for role, text in asked.items()}
    if requests["labelled"] is None or requests["labelled"].names is None:
        _refuse_shared(catalogue)
    lists = _lists_by_role(catalogue, requests)
    roles, why = _named_roles(requests, lists)

    apart = [
        entry for role in DECIDED for entry in (*roles.get(role, ()), *(lists[role] if role != "labelled" else ()))
    ]
    given = set(_patients(apart, catalogue))
    pool = [group for group in _order(catalogue, lists, seed) if group not in given]
    total = len(pool)
    for role in ("val", "test"):
        request = requests[role]
        if role not in roles and request is not None:
            listed = _patients(lists[role], catalogue)
            spared = 0 if listed or "labelled" in roles else 1
            groups = _ends(listed or pool, request, role, total, catalogue, spared)
            pool = [group for group in pool if group not in groups]
            roles[role] = _masked(groups, catalogue)
            why[role] = "of the data set's list" if listed else f"last of {_order_name(lists, seed)}"
    if "labelled" not in roles:
        request = requests["labelled"]
        if request is not None and request.frames:
            if "val" not in roles:  # frames are taken from every sequence that is left, so val comes first
                held = pool[len(pool) - _val_count(len(pool)) :]
                pool = pool[: len(pool) - len(held)]
                roles["val"] = _masked(held, catalogue)
                why["val"] = f"last of {_order_name(lists, seed)}"
            roles["labelled"] = _frames(pool, request, catalogue)
            why["labelled"] = f"evenly over {_order_name(lists, seed)}"
            pool = []
        else:
            groups = _ends(pool, request, "labelled", total, catalogue)
            pool = [group for group in pool if group not in groups]
            roles["labelled"] = _masked(groups, catalogue)
            why["labelled"] = f"first of {_order_name(lists, seed)}" if request else "every case with a mask"
    roles.setdefault("test", ())
    if "val" not in roles:
        spared = set(_patients(lists["unlabelled"], catalogue))
        free = [group for group in pool if group not in spared]
        roles["val"], roles["labelled"], why["val"] = _default_val(roles["labelled"], free, catalogue)
    split = check_split(Split(**roles, seed=seed), catalogue)
    return split, _told(split, why, catalogue)


def check_split(split: Split, catalogue: Catalogue) -> Split:
    """The split, if it fits the catalogue; with an empty `unlabelled`, every case that may be is unlabelled.

    DataError where a case is unknown, has no mask but needs one, plays two roles, or shares a patient with one that
    does.
    """
    cases = {role: [case_of(entry, catalogue) for entry in getattr(split, role)] for role in ROLES}
    for role, ids in cases.items():
        for entry, id_ in zip(getattr(split, role), ids, strict=True):
            if id_ not in catalogue.by_id:
                raise DataError(
                    f"split: {role} case '{entry}' is not in {catalogue.name}{nearest(id_, catalogue.by_id)}"
                )
            if role != "unlabelled" and catalogue.by_id[id_].label is None:
                raise DataError(f"split: {role} case '{entry}' has no mask; draw one, or take it out of {role}")
    if not cases["labelled"]:
        raise DataError("split: no case is labelled; name at least one")
    held_out = set(_patients([*cases["val"], *cases["test"]], catalogue))
    if not cases["unlabelled"]:
        labelled = set(cases["labelled"])
        rest = [case for case in catalogue.cases if case.id not in labelled and case.patient not in held_out]
        cases["unlabelled"] = [case.id for case in rest]
        split = replace(split, unlabelled=tuple(cases["unlabelled"]))
    patients = {role: set(_patients(ids, catalogue)) for role, ids in cases.items()}
    for first, second in combinations(ROLES, 2):
        training = (first, second) == ("labelled", "unlabelled")
        both = set(cases[first]) & set(cases[second]) if training else patients[first] & patients[second]
        if both:
            kind = "case" if training else "patient"
            name = min(both, key=natural)
            raise DataError(f"split: {kind} '{name}' is both {first} and {second}; leave it in one of them")
    return split


def _refuse_shared(catalogue: Catalogue) -> None:
    """Raise DataError where a group stands both in a list to learn from and in one that is held out."""
    lists = {role: set(_patients(entries, catalogue)) for role, entries in catalogue.lists.items()}
    for learnt in lists.keys() & {"train", "labelled", "unlabelled"}:
        for held in lists.keys() & {"val", "test"}:
            both = lists[learnt] & lists[held]
            if both:
                raise DataError(
                    f"{catalogue.name}: '{min(both, key=natural)}' is both in {learnt} and in {held} of the data set; "
                    "if these are two patients or sequences of one name, rename one, else take it out of one"
                )


def _lists_by_role(catalogue: Catalogue, requests: Mapping[str, Request | None]) -> dict[str, tuple[str, ...]]:
    """The catalogue's lists, without cases that their role has no use for because they have no mask.

    A layout's only held-out list (val without test) is what published tables report on, so it is `test` unless the
    user has test or val cases in mind that contradict it.
    """
    lists = {role: tuple(catalogue.lists.get(role, ())) for role in (*ROLES, "train")}
    for role in DECIDED:
        lists[role] = tuple(entry for entry in lists[role] if catalogue.by_id[case_of(entry, catalogue)].label)
    val = requests["val"]
    wanted = set(val.names or ()) if val else set()
    if lists["val"] and not (lists["test"] or lists["labelled"] or requests["test"] or wanted & set(lists["val"])):
        lists["test"], lists["val"] = lists["val"], ()
    return lists


def _named_roles(
    requests: Mapping[str, Request | None], lists: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """The roles that names decide, not counts; and why."""
    roles: dict[str, tuple[str, ...]] = {}
    why: dict[str, str] = {}
    for role in DECIDED:
        request = requests[role]
        if request is not None and request.names is not None:
            roles[role], why[role] = request.names, f"named by {request.source}"
        elif request is None and lists[role]:
            roles[role], why[role] = lists[role], "the data set's list"
    return roles, why


def _order(catalogue: Catalogue, lists: Mapping[str, tuple[str, ...]], seed: int) -> list[str]:
    """Groups with masks in the order in which they are taken.  A train list is the whole pool."""
    masked = {group for group, cases in catalogue.groups.items() if any(case.label for case in cases)}
    listed = _patients((*lists["labelled"], *lists["train"]), catalogue)
    rest = [] if lists["train"] else sorted(masked - set(listed), key=natural)
    drawn = [rest[index] for index in generator(seed, "split").permutation(len(rest))]
    return [group for group in (*listed, *drawn) if group in masked]


def _order_name(lists: Mapping[str, tuple[str, ...]], seed: int) -> str:
    return "the data set's list" if lists["train"] or lists["labelled"] else f"an order drawn from seed {seed}"


def _ends(
    groups: Sequence[str], request: Request | None, role: str, total: int, catalogue: Catalogue, spared: int = 0
) -> list[str]:
    """As many groups as asked (None: all), from the start for labelled, from the end for val and test.

    spared: groups that must be left, to learn from.
    """
    if not groups and role == "labelled":
        raise DataError(f"{catalogue.name}: every patient with a mask is in val or test; leave some for training")
    count = len(groups)
    if request is not None:
        share = max(1, round((request.share or 0) * total)) if request.share else 0
        count = share if request.count is None else request.count
    most = max(0, len(groups) - spared)
    if count > most:
        learn = ", and one is needed to learn from" if spared else ""
        raise DataError(
            f"--{role} {request.source if request else count}: only {len(groups)} patients with masks to choose from "
            f"in {catalogue.name}{learn}; ask for at most {most}, or draw more masks"
        )
    return list(groups[:count] if role == "labelled" else groups[len(groups) - count :])


def _frames(groups: Sequence[str], request: Request, catalogue: Catalogue) -> tuple[str, ...]:
    """As many single images with masks as asked, spread over the groups and within each of them.

    A share gives at least the first one of every group.
    """
    masked = [[case for case in catalogue.groups[group] if case.label] for group in groups]
    frames = frames_in_turn(masked)
    count = request.count
    if request.share is not None:
        count = max(len(masked), round(request.share * len(frames)))
    if count > len(frames):
        raise DataError(
            f"--labelled {request.source}: only {len(frames)} images with masks to choose from in {catalogue.name}; "
            f"ask for at most {len(frames)}, or draw more masks"
        )
    if not count:
        raise DataError(f"{catalogue.name}: every patient with a mask is in val or test; leave some for training")
    return tuple(case.id for case in frames[:count])


def _val_count(groups: int) -> int:
    """Of so many groups, how many choose the checkpoint by default."""
    return 0 if groups < 3 else 1 if groups < 10 else round(groups / 5)


def _default_val(
    labelled: tuple[str, ...], free: Sequence[str], catalogue: Catalogue
) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """val, what stays labelled, and why: val comes from other groups with masks, else out of the labelled ones."""
    groups = _patients(labelled, catalogue)
    count = _val_count(len(groups))
    if count == 0:
        return (), labelled, f"none with {len(groups)} labelled: the last checkpoint is the result"
    if free:
        return _masked(free[-count:], catalogue), labelled, "patients with masks that are not labelled"
    whole = [group for group in groups if not _sliced(group, labelled, catalogue)]
    taken = whole[-count:]
    kept = tuple(entry for entry in labelled if catalogue.by_id[case_of(entry, catalogue)].patient not in taken)
    return _masked(taken, catalogue), kept, "taken out of the labelled ones; --val 0 leaves them there"


def _sliced(group: str, labelled: Iterable[str], catalogue: Catalogue) -> bool:
    """Whether only slices of the group are labelled."""
    return any(
        case_of(entry, catalogue) != entry and catalogue.by_id[case_of(entry, catalogue)].patient == group
        for entry in labelled
    )


def _patients(entries: Iterable[str], catalogue: Catalogue) -> list[str]:
    """The groups of cases and case:slice entries, in their order, each once."""
    return list(dict.fromkeys(catalogue.by_id[case_of(entry, catalogue)].patient for entry in entries))


def _masked(groups: Iterable[str], catalogue: Catalogue) -> tuple[str, ...]:
    """The cases with masks of the groups."""
    return tuple(case.id for group in groups for case in catalogue.groups[group] if case.label)


def _told(split: Split, why: Mapping[str, str], catalogue: Catalogue) -> tuple[str, ...]:
    """A line for each role: how many, and why these."""
    lines = []
    for role in ROLES:
        entries = getattr(split, role)
        reason = f", {why[role]}" if role in why else ""
        counts = ((len(_patients(entries, catalogue)), "patient"), (len(entries), "case"))
        lines.append(f"{role}: {', '.join(f'{n} {word}' if n == 1 else f'{n} {word}s' for n, word in counts)}{reason}")
    return tuple(lines)
