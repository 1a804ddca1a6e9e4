"""What words say of the floor: that more will come, or that time is wanted. Pure functions.

Only the end of what was said counts: its last word, or the last stretch between two marks. The
recognizer closes with a period what breaks off as well, so its marks prove little.
"""

from __future__ import annotations

import re

from services.ai.transcripts import FILLERS, bare

_FILLER = "|".join(sorted(FILLERS))
# No finished English turn ends on these: conjunctions, articles, possessives.
_NEVER_LAST = frozenset(
    "and but or because if which than a an the my your its our their every very".split()
)
# Prepositions that govern something do end questions ("Where are you from?"), not statements.
_LAST_IN_QUESTIONS = frozenset(
    "of for from with into about at by between during without as".split()
)
# Other prepositions end statements too ("I want to.", "Come in."), but not after these words.
_GOVERNED = re.compile(
    r"\b(?:(?:go|goes|going|went|gone|come|came|coming|move|moved|fly|flew|travel|travell?ed|"
    r"back|next|listen|listened|listening|talk|talked|talking|speak|spoke|speaking|according|due)"
    r" to|(?:live|lives|lived|living|born|interested|believe|work|works|worked|study|studied) in|"
    r"(?:depend|depends|depending) on)$"
)
# With a period after it this begins a sentence; "Yes, I want to." and "I'd love to." are whole.
_WISH = re.compile(
    rf"(?:(?:{_FILLER}|and|but|so|well|then) )*(?:i|we|you|he|she|they)"
    r"(?:'d|'m|'re|'s| would| am| are| is| was| were)? (?:really |just )?"
    r"(?:want|wants|wanted|need|needs|needed|like|likes|liked|going|plan|planned|try|tried|trying|"
    r"decided|start|started|began) to"
)
# What a last preposition may govern stands before it here: "That is what I was looking for."
_GOVERNS_BEFORE = re.compile(
    r"\b(?:that|what(?! an? )|which|who|whom|where|(?:some|any|no|every)thing)\b"
)
# These do end turns ("I think so", "Yes, I am", "me and she"): they promise more only where the
# recognizer itself put no final mark after them.
_UNFINISHED = frozenset(
    "so when that who this his her some any is are was were am be been have has will would"
    " can could should may might must i we they he she really more most like to in on until since"
    " near under not".split()
)
_FINAL_MARK = re.compile(r"[.!?]['\"\u201d)]*$")
_QUESTION_MARK = re.compile(r"\?['\"\u201d)]*$")
_SENTENCES = re.compile(r"[.!?\u2026]+")
_CLAUSES = re.compile(r"[.,;:!?\u2026\u2014]+|(?<=\s)-+(?=\s)")

# What may stand around the phrases below, in a stretch that says nothing else.
_LEAD = rf"(?:(?:{_FILLER}|oh|ok|okay|right|well|so|yes|yeah|no|sorry|please|but|and|now) )*"
_TRAIL = rf"(?: (?:{_FILLER}|please|now|ok|okay))*"
_UNIT = r"(?:moment|minute|second|sec)"
_A_WHILE = (
    rf"(?:a|one|1|some|more|a little|a bit of|a few|a couple of) (?:{_UNIT}s?|time|more time)"
)
# Said while thinking, wherever they end what was said.
_THINKING = (
    r"let me (?:just )?(?:"
    r"(?:think|remember|recall)(?: [\w']+){0,5}|"
    r"see(?: (?:what|how|if|where|which|who)(?: [\w']+){1,6})?|"
    r"(?:check|look|try)(?: (?:it|this|that))?(?: again)?|start (?:again|over))"
)
# And while looking for a word; the tutor may be meant, so they ask for no more time than that.
_SEARCHING = (
    r"how (?:do|can|could|should|would) (?:i|you|we) (?:say|call|explain)(?: (?:this|that|it))?"
    r"(?: in english)?|"
    r"what(?:'s| is| was) the (?:right )?(?:word|name)(?: (?:for|of) (?:this|that|it))?"
    r"(?: again| in english)?|"
    r"what do (?:you|we|they) call (?:this|that|it|them)(?: again| in english)?"
)
# These ask for time only where they stand alone: "He told me to wait", "It takes just a minute".
_WAIT = (
    r"wait(?: wait)*|(?:hold|hang) on|bear with me|i(?:'m| am) (?:just |still )?thinking|"
    rf"(?:(?:can|could|would) you )?(?:please )?"
    rf"(?:just|only|wait|(?:hold|hang) on|give me)(?: just| for)? {_A_WHILE}|"
    rf"i (?:just )?need {_A_WHILE}(?: to think)?|"
    rf"i (?:just )?(?:need to|have to|must|want to) think(?: for {_A_WHILE})?"
)
# And these only as all that was said: "How long does it take? A minute."
_BARE_WAIT = rf"(?:a|one|1) {_UNIT}"
# These announce more, unless they are asked.
_ANNOUNCES = re.compile(
    r"\b(?:for example|for instance|(?:and|but|or|so|if) then|and (?:so|also|after that)|such as|"
    r"in order to|(?:^|(?:and|but|so|because|like|very|really|just|is|was|a|the) )"
    r"(?:you know|i mean))$"
)
# And these where a sentence begins with them: "I like it, actually." is over.
_OPENS = re.compile(
    rf"{_LEAD}(?:well|so|then|also|actually|basically|anyway|however|like|i think(?: that)?|"
    r"i guess|i believe|i would say|i'd say|first of all|by the way|in my opinion|in other words|"
    r"how to say(?: (?:this|that|it))?(?: in english)?|to be honest|on the other hand|my name is|"
    r"(?:i think )?the (?:[\w']+ )?(?:thing|problem|reason|point|question|answer|idea) (?:is|was)|"
    r"let me (?:explain|(?:tell|ask) you(?: something| a question)?|give you an example))"
)
_ENDS_THINKING = re.compile(rf"\b(?:{_THINKING}|{_SEARCHING}){_TRAIL}$")
_ASKS = re.compile(rf"{_LEAD}(?:{_THINKING}|{_WAIT}){_TRAIL}")
_ASKS_BARELY = re.compile(rf"{_LEAD}{_BARE_WAIT}{_TRAIL}")
_SAYS_NOTHING = re.compile(rf"{_LEAD}")


def holds_floor(words: str) -> bool:
    """Whether ``words`` say themselves that more will come."""
    text = words.strip()
    if not text:
        return False
    if text.endswith((",", "-", "\u2014", "...", "\u2026")):
        return True
    return _last_word_holds(text) or _last_clause_holds(text) or asks_for_time(text)


def asks_for_time(words: str) -> bool:
    """Whether ``words`` say nothing but that the learner needs a moment.

    A sound of hesitation says nothing at all, so by itself it does not ask.
    """
    asked = False
    for clause in _stretches(_CLAUSES, words):
        if _ASKS.fullmatch(clause) or _ASKS_BARELY.fullmatch(clause):
            asked = True
        elif not _SAYS_NOTHING.fullmatch(f"{clause} "):
            return False
    return asked


def _last_word_holds(text: str) -> bool:
    said = text.split()
    last = bare(said[-1])
    is_question = _QUESTION_MARK.search(text) is not None
    if last in FILLERS:
        # "Hm?" asks to hear it again.
        return not is_question
    if last in _NEVER_LAST:
        # "Which?" is a whole turn.
        return not (is_question and len(said) == 1)
    is_final = _FINAL_MARK.search(text) is not None
    if last in _UNFINISHED and not is_final:
        return True
    *_, sentence = _stretches(_SENTENCES, text) or [""]
    if last in _LAST_IN_QUESTIONS or _GOVERNED.search(sentence):
        return not is_question and not (is_final and _GOVERNS_BEFORE.search(sentence))
    return not is_question and _WISH.fullmatch(sentence.replace(",", "")) is not None


def _last_clause_holds(text: str) -> bool:
    *_, clause = _stretches(_CLAUSES, text) or [""]
    if _ENDS_THINKING.search(clause) or _ASKS.fullmatch(clause):
        return True
    if _QUESTION_MARK.search(text):
        return False
    *_, sentence = _stretches(_SENTENCES, text) or [""]
    return bool(_ANNOUNCES.search(clause) or _OPENS.fullmatch(sentence.replace(",", "")))


def _stretches(between: re.Pattern[str], text: str) -> list[str]:
    """Return what stands between marks: lower case, one space between words."""
    plain = text.lower().replace("\u2019", "'")
    stretches = (
        " ".join(each.split()).strip("'\" ()\u201c\u201d") for each in between.split(plain)
    )
    return [each for each in stretches if each]
