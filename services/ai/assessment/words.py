"""The small closed part of English grammar that corrections are told apart by. Pure.

Only what has few members and clear forms is here: these are the mistakes that learners make most
(articles, prepositions, verb forms, number; Nicholls 2003, the Cambridge Learner Corpus), and the
only ones in which a small language model is right often enough to be passed on.
"""

from __future__ import annotations

ARTICLES = frozenset({"a", "an", "the"})

PREPOSITIONS = frozenset(
    {
        "about", "after", "against", "at", "before", "between", "by", "during", "for", "from",
        "in", "into", "of", "on", "onto", "over", "since", "through", "to", "under", "until",
        "with", "without",
    }
)  # fmt: skip

BE = frozenset({"am", "is", "are", "was", "were", "be", "been", "being"})
DO = frozenset({"do", "does", "did"})
HAVE = frozenset({"have", "has", "had"})
PRESENT = frozenset({"am", "is", "are", "do", "does", "have", "has"})
PAST = frozenset({"was", "were", "did", "had"})
AUXILIARIES = BE | DO | HAVE | {"will", "would"}

PRONOUNS = (
    frozenset({"i", "me", "my", "mine"}),
    frozenset({"he", "him", "his"}),
    frozenset({"she", "her", "hers"}),
    frozenset({"it", "its"}),
    frozenset({"we", "us", "our", "ours"}),
    frozenset({"they", "them", "their", "theirs"}),
    frozenset({"you", "your", "yours"}),
)
"""Each person's forms: which one is meant never changes, only its form."""

QUANTITIES = (
    frozenset({"much", "many"}),
    frozenset({"little", "few"}),
    frozenset({"less", "fewer"}),
    frozenset({"this", "these"}),
    frozenset({"that", "those"}),
)
COUNTABLE = frozenset({"many", "few", "fewer"})

CONFUSED = (
    frozenset({"say", "said", "says", "tell", "told", "tells"}),
    frozenset({"do", "does", "did", "make", "makes", "made"}),
    frozenset({"learn", "learned", "learns", "teach", "taught", "teaches"}),
    frozenset({"borrow", "borrowed", "lend", "lent"}),
    frozenset({"look", "looked", "see", "saw", "watch", "watched"}),
    frozenset({"hear", "heard", "listen", "listened"}),
    frozenset({"good", "well"}),
    frozenset({"bored", "boring"}),
    frozenset({"interested", "interesting"}),
    frozenset({"excited", "exciting"}),
    frozenset({"tired", "tiring"}),
)
"""Words of which learners take one for another."""

# base: past, past participle. Those in the first few hundred words of spoken English.
IRREGULAR = {
    "be": ("was", "been"), "become": ("became", "become"), "begin": ("began", "begun"),
    "break": ("broke", "broken"), "bring": ("brought", "brought"), "build": ("built", "built"),
    "buy": ("bought", "bought"), "catch": ("caught", "caught"), "choose": ("chose", "chosen"),
    "come": ("came", "come"), "cost": ("cost", "cost"), "cut": ("cut", "cut"),
    "do": ("did", "done"), "draw": ("drew", "drawn"), "drink": ("drank", "drunk"),
    "drive": ("drove", "driven"), "eat": ("ate", "eaten"), "fall": ("fell", "fallen"),
    "feel": ("felt", "felt"), "fight": ("fought", "fought"), "find": ("found", "found"),
    "fly": ("flew", "flown"), "forget": ("forgot", "forgotten"), "get": ("got", "got"),
    "give": ("gave", "given"), "go": ("went", "gone"), "grow": ("grew", "grown"),
    "have": ("had", "had"), "hear": ("heard", "heard"), "hold": ("held", "held"),
    "hurt": ("hurt", "hurt"), "keep": ("kept", "kept"), "know": ("knew", "known"),
    "learn": ("learned", "learned"), "leave": ("left", "left"), "lend": ("lent", "lent"),
    "lose": ("lost", "lost"), "make": ("made", "made"), "mean": ("meant", "meant"),
    "meet": ("met", "met"), "pay": ("paid", "paid"), "put": ("put", "put"),
    "read": ("read", "read"), "ride": ("rode", "ridden"), "ring": ("rang", "rung"),
    "run": ("ran", "run"), "say": ("said", "said"), "see": ("saw", "seen"),
    "sell": ("sold", "sold"), "send": ("sent", "sent"), "show": ("showed", "shown"),
    "sing": ("sang", "sung"), "sit": ("sat", "sat"), "sleep": ("slept", "slept"),
    "speak": ("spoke", "spoken"), "spend": ("spent", "spent"), "stand": ("stood", "stood"),
    "steal": ("stole", "stolen"), "swim": ("swam", "swum"), "take": ("took", "taken"),
    "teach": ("taught", "taught"), "tell": ("told", "told"), "think": ("thought", "thought"),
    "throw": ("threw", "thrown"), "understand": ("understood", "understood"),
    "wake": ("woke", "woken"), "wear": ("wore", "worn"), "win": ("won", "won"),
    "write": ("wrote", "written"),
}  # fmt: skip

PLURALS = {
    "man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet",
    "tooth": "teeth", "mouse": "mice",
}  # fmt: skip

_BASE_OF = {
    **{form: base for base, forms in IRREGULAR.items() for form in forms},
    **dict.fromkeys(BE, "be"),
    "does": "do",
    "has": "have",
    "goes": "go",
}
_PASTS = frozenset(past for past, _ in IRREGULAR.values()) | {"were"}
_PARTICIPLES = frozenset(participle for _, participle in IRREGULAR.values())
_VOWELS = "aeiou"
_NOT_ING = frozenset(
    {"bring", "king", "ring", "sing", "spring", "string", "swing", "thing", "wing"}
)


def forms_of(word: str) -> frozenset[str]:
    """Return what the lower-case ``word`` may be a form of: itself, and what its endings hide.

    Two words that share one are forms of the same word, or close enough: "walks" and "walked",
    "friend" and "friends", "goed" and "went".
    """
    forms = {word, _BASE_OF.get(word, word)}
    for one, many in PLURALS.items():
        if word in (many, many + "s", one + "s"):
            forms.add(one)
    for ending, instead in (
        ("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", ""), ("ed", "e"), ("d", ""),
        ("ing", ""), ("ing", "e"), ("er", ""), ("est", ""),
    ):  # fmt: skip
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2:
            continue
        base = stem + instead
        forms.add(base)
        forms.add(_BASE_OF.get(base, base))
        if not instead and len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
            forms.add(stem[:-1])  # "stopped"
    return frozenset(forms)


def is_past(word: str) -> bool:
    """Whether ``word`` looks like a simple past."""
    return word in _PASTS or (word.endswith("ed") and len(word) > 3)


def is_ing(word: str) -> bool:
    """Whether ``word`` has the ending "-ing", and does not just end like that."""
    return word.endswith("ing") and word not in _NOT_ING


def is_participle(word: str) -> bool:
    """Whether ``word`` looks like a past participle."""
    return word in _PARTICIPLES or word.endswith("ed")
