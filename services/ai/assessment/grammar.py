"""Says what kind of mistake an edit puts right, and why; or that it is none worth telling of. Pure.

What is not one of these kinds is dropped: a model that rewrites a sentence also makes it more
elegant, or says something else, and a wrong correction is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.ai.assessment import words as w
from services.ai.assessment.edits import Edit, parts
from services.ai.learner import CorrectionKind

_PLURAL_BEFORE = frozenset(
    "two three four five six seven eight nine ten many some several few these those all most"
    " other both various different".split()
)
_SINGULAR_SUBJECTS = frozenset({"he", "she", "it", "who", "everyone", "everybody", "nobody"})


@dataclass(frozen=True, slots=True)
class Reason:
    """What kind of mistake it is, and why it is one: a short sentence for the learner."""

    kind: CorrectionKind
    explanation: str


def reason_of(edit: Edit, said: Sequence[str]) -> Reason | None:
    """Return why ``edit`` mends the words ``said``; None for what is not to be told."""
    before, after = edit.before, edit.after
    until = parts(said[: edit.first])
    if len(before) > 2 or len(after) > 2:
        return None
    if not before:
        return _added(after)
    if not after:
        return _left_out(before)
    if len(before) == len(after) == 1:
        return _instead(before[0], after[0], until, parts(said))
    return _verb_phrase(before, after)


def _grammar(explanation: str) -> Reason:
    return Reason(CorrectionKind.GRAMMAR, explanation)


def _vocabulary(explanation: str) -> Reason:
    return Reason(CorrectionKind.VOCABULARY, explanation)


def _added(after: tuple[str, ...]) -> Reason | None:
    if len(after) != 1:
        return None
    (word,) = after
    if word in ("a", "an"):
        return _grammar(f"One of a kind that you can count needs “{word}” before it.")
    if word == "the":
        return _grammar("Say “the” when it is clear which one you mean.")
    if word in w.PREPOSITIONS:
        return _grammar(f"The word “{word}” is missing here.")
    if word in w.BE:
        return _grammar(f"An English sentence needs its verb: “{word}” is missing.")
    if word in w.AUXILIARIES:
        return _grammar(f"The helping verb “{word}” is missing here.")
    return None


def _left_out(before: tuple[str, ...]) -> Reason | None:
    if len(before) != 1:
        return None
    (word,) = before
    if word in w.ARTICLES:
        return _grammar(f"No “{word}” is needed here.")
    if word in w.PREPOSITIONS or word in w.AUXILIARIES:
        return _grammar(f"Leave “{word}” out here.")
    return None


def _instead(before: str, after: str, until: list[str], said: list[str]) -> Reason | None:
    if (before in w.PRESENT and after in w.PAST) or (w.is_past(before) and after in w.PRESENT):
        # When it was is the learner's to say.
        return None
    if before in w.HAVE and after in w.BE:
        return _grammar(f"For age it is “{after}”.") if "old" in said else None
    if before in w.ARTICLES and after in w.ARTICLES:
        return _other_article(before, after)
    if before in w.PREPOSITIONS and after in w.PREPOSITIONS:
        return _grammar(f"Here people say “{after}”, not “{before}”.")
    if any(before in forms and after in forms for forms in w.PRONOUNS):
        return _grammar(f"In this place the form is “{after}”.")
    for pair in w.QUANTITIES:
        if before in pair and after in pair:
            return _other_quantity(after)
    if any(before in each and after in each for each in w.CONFUSED) and not _same(before, after):
        return _vocabulary(f"“{after}” is the right word here, not “{before}”.")
    return _other_form(before, after, until) if _same(before, after) else None


def _same(before: str, after: str) -> bool:
    return bool(w.forms_of(before) & w.forms_of(after))


def _other_article(before: str, after: str) -> Reason:
    if {before, after} == {"a", "an"}:
        sound = "a vowel sound" if after == "an" else "a consonant sound"
        return _grammar(f"Before {sound} it is “{after}”.")
    if after == "the":
        return _grammar("Say “the” when it is clear which one you mean.")
    return _grammar(f"Say “{after}” when it is any one of its kind.")


def _other_quantity(after: str) -> Reason:
    if after in ("this", "that"):
        return _grammar(f"“{after}” goes with one thing.")
    if after in ("these", "those"):
        return _grammar(f"“{after}” goes with more than one.")
    what = "things that you can count" if after in w.COUNTABLE else "what you cannot count"
    return _grammar(f"“{after}” goes with {what}.")


def _other_form(before: str, after: str, until: list[str]) -> Reason | None:
    previous = until[-1] if until else ""
    if previous == "not" and w.DO & set(until):
        previous = next(each for each in reversed(until) if each in w.DO)
    if previous in w.DO | {"to", "can", "could", "will", "would", "should", "must"}:
        return _grammar(f"After “{previous}” the verb has its plain form: “{after}”.")
    if w.HAVE & set(until[-3:]) and w.is_participle(after):
        return _grammar(f"With “have” it is “{after}”.")
    if w.is_ing(after) != w.is_ing(before):
        return _grammar(f"Here the form of the verb is “{after}”.")
    if after in w.BE:
        return _grammar(f"Here the form of “be” is “{after}”.")
    if w.is_past(before) and not w.is_past(after):
        return None  # as above
    if w.is_past(after) and not w.is_past(before):
        return _grammar(f"It is over, so it is in the past: “{after}”.")
    if w.is_past(after):
        return _grammar(f"The past of this verb is “{after}”.")
    if after.endswith("s") and not before.endswith("s"):
        if previous in _PLURAL_BEFORE:
            return _grammar(f"More than one: “{after}”.")
        if previous in _SINGULAR_SUBJECTS:
            return _grammar(f"After “{previous}” the verb ends in “s”: “{after}”.")
        return _grammar(f"It needs an “s” here: “{after}”.")
    if before.endswith("s") and not after.endswith("s"):
        return _grammar(f"It has no “s” here: “{after}”.")
    return _grammar(f"Here the form is “{after}”.")


def _verb_phrase(before: tuple[str, ...], after: tuple[str, ...]) -> Reason | None:
    """Return why "go" became "am going", or "did went" became "went"; None for anything else."""
    main_before = [word for word in before if word not in w.AUXILIARIES]
    main_after = [word for word in after if word not in w.AUXILIARIES]
    if len(main_before) == len(main_after) == 1 and _same(main_before[0], main_after[0]):
        return _grammar(f"Here the verb is “{' '.join(after)}”.")
    if not main_before and not main_after:
        return _grammar(f"Here it is “{' '.join(after)}”.")
    return None
