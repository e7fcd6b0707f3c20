"""A sentence cut into chunks: what stands between prepositions, verbs, denials and marks.

`no fat around the left kidney in CT` becomes denials (fat), relations (left kidney), locating (CT). What a
chunk means is said in `nouns`, what the sentence asks for in `reading`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from vesal.inference.prompts.term_search import Span
from vesal.inference.prompts.tokens import DASHES, MINUS, STOPS, Token
from vesal.inference.prompts.vocabulary import Term, Vocabulary

MODALITY, SIDE, NUMBER = "modality", "side", "number"
LEADS = (
    "denials", "exceptions", "resets", "relations", "of", "locating", "accompanying", "joins", "clauses",
    "requests",
)  # fmt: skip
"""Classes of words that begin a chunk, the first that a word is of counts."""
PRONOUNS = frozenset(
    {"what", "whatever", "that", "which", "who", "it", "anything", "everything", "something"}
)
"""Before a verb of place."""
ARTICLES = frozenset({"the", "a", "an", "this", "that", "these", "both", "his", "her", "their", "its"})
"""Behind a verb of place."""
ONLY_OF_MANY = frozenset({"save", "ex", "bar", "sans"})
"""Words that except something behind a noun for many things: `all organs save the liver`."""
ADJECTIVES = ("al", "ic", "ar", "ary", "ous", "iac")
"""Endings of a term that is an adjective."""
COPULAS = frozenset({"is", "are", "was", "were"})
STOP, COMMA, OPEN, CLOSE = "stop", "comma", "open", "close"
ABBREVIATED = 4
"""Letters of a word up to which a full stop behind it may be that of an abbreviation: `Rt. parotid`."""


class Item(Struct, frozen=True):
    """One or more words that belong together."""

    start: int
    end: int
    text: str
    """stems, with blanks between"""
    term: Span[Term] | None = None
    classes: frozenset[str] = frozenset()

    @property
    def is_unknown(self) -> bool:
        """Whether the vocabulary has no such word."""
        return self.term is None and not self.classes

    def of(self, name: str) -> bool:
        """Whether it is of a class."""
        return name in self.classes


class Chunk(Struct):
    """Items behind one leading word or mark."""

    lead: str = ""
    """One of LEADS, `predicates`, or the mark before it; empty at the start."""
    word: str = ""
    """The leading word."""
    items: list[Item] = field(default_factory=list)

    @property
    def start(self) -> int:
        """First token; -1 where there is none."""
        return self.items[0].start if self.items else -1


def read_items(tokens: Sequence[Token], vocabulary: Vocabulary) -> list[Item]:
    """Every word of a sentence in its item: the longest known terms, what is left word by word."""
    raw, stems = tuple(token.raw for token in tokens), tuple(token.stem for token in tokens)
    modalities = vocabulary.find_modalities(raw, stems)

    def is_free(span: Span[Term | None]) -> bool:
        """Not part of a modality (`T1 weighted`), and not across what is taken away: `liver (- vessels)`."""
        inside = (token.before for token in tokens[span.start + 1 : span.end])
        if any(len(marks) > 1 and marks.endswith(MINUS) for marks in inside):
            return False
        return not any(span.meets(other) and span.length <= other.length for other in modalities)

    items: list[Item] = []
    taken: set[int] = set()
    for span in vocabulary.find_terms(stems, is_free):
        words = [stems[i] for i in range(span.start, span.end) if i not in span.skipped]
        text = " ".join(words)
        classes = vocabulary.classes.get(text, frozenset())
        if span.value is not None:
            items.append(Item(span.start, span.end, text, span, classes))  # type: ignore[arg-type]
        elif span.skipped and text not in vocabulary.group_names:  # other words have no side inside
            continue
        else:
            known = text in vocabulary.group_names or text in vocabulary.groups.classes
            region = {"regions"} if text in vocabulary.groups.region_words else set()
            items.append(
                Item(span.start, span.end, text, None, classes | region | ({"group"} if known else set()))
            )
        taken.update(range(span.start, span.end))
    for modality in modalities:
        here = [i for i in range(modality.start, modality.end) if i not in taken]
        items += [Item(i, i + 1, stems[i], None, frozenset({MODALITY})) for i in here]
        taken.update(here)
    for i, stem in enumerate(stems):
        if i not in taken:
            kind = SIDE if stem in vocabulary.sides else NUMBER if _is_number(stem) else None
            items.append(Item(i, i + 1, stem, None, frozenset({kind}) if kind else frozenset()))
    return sorted(items, key=lambda item: item.start)


def _is_number(word: str) -> bool:
    return word.isdigit() or word in {
        "ii",
        "iii",
        "iv",
        "vi",
        "vii",
        "viii",
        "i",
        "v",
        "ix",
        "x",
        "xi",
        "xii",
    }


def cut_chunks(items: Sequence[Item], tokens: Sequence[Token], vocabulary: Vocabulary) -> list[Chunk]:
    """The chunks of a sentence, in its order."""
    chunks = [Chunk()]
    for n, item in enumerate(items):
        marks = tokens[item.start].before
        for mark in _marks(marks, tokens[item.start - 1].raw if item.start else ""):
            chunks.append(Chunk(mark))
        after = items[n + 1] if n + 1 < len(items) else None
        if marks.endswith(MINUS) and _is_taken_away(item, after, chunks, tokens):
            chunks.append(Chunk("exceptions", MINUS))
        lead = _lead(item, chunks, after, tokens, vocabulary)
        if lead:
            chunks.append(Chunk(lead, item.text))
            if lead == "clauses" and item.is_unknown:
                continue
        else:
            chunks[-1].items.append(item)
    return chunks


def _is_taken_away(item: Item, after: Item | None, chunks: Sequence[Chunk], tokens: Sequence[Token]) -> bool:
    """Whether a dash before it excepts it from many things, or from what brackets stand behind."""
    named = item.term is not None or (item.of("filler") and after is not None and after.term is not None)
    if chunks[-1].lead == OPEN:
        return named or item.of(SIDE)
    return named and (chunks[-1].word == MINUS or _is_group(chunks, tokens))


def _is_group(chunks: Sequence[Chunk], tokens: Sequence[Token]) -> bool:
    """Whether the last chunk ends in a noun for many things, in the plural: `abdominal organs - liver`.

    Or the one before it, of which it says the place: `organs of the chest`.
    """
    chunk = chunks[-2] if len(chunks) > 1 and chunks[-1].lead in ("of", "locating") else chunks[-1]
    last = chunk.items[-1] if chunk.items else None
    return last is not None and last.of("group") and tokens[last.end - 1].raw.lower() != last.text


def _marks(marks: str, before: str) -> list[str]:
    """What the marks between two words part."""
    found = []
    for mark in marks:
        if mark not in STOPS or (mark == "." and len(before) <= ABBREVIATED):
            continue
        kind = COMMA if mark in ",/|+&" else OPEN if mark in "([{" else CLOSE if mark in ")]}" else STOP
        found.append("joins" if mark in "/|+&" else kind)
    return found


def _lead(
    item: Item, chunks: Sequence[Chunk], after: Item | None, tokens: Sequence[Token], vocabulary: Vocabulary
) -> str:
    """The kind of chunk that a word begins; empty where it begins none."""
    if item.text in ("segment", "seg"):
        return "requests" if _is_verb(chunks, after) else ""
    if item.term is not None:
        return ""
    if item.of("relation_prefixes") and item.text not in ("non", "un"):
        hyphen = after is not None and after.term is not None and tokens[after.start].before in DASHES
        return "relations" if hyphen else ""
    if item.text in ONLY_OF_MANY and _is_group(chunks, tokens):
        return "exceptions"
    if item.of("relation_verbs") and _is_relating(item, after, tokens):
        return "relations"
    if item.text in COPULAS and _judges(chunks[-1], after):
        return "predicates"
    owned = any(other.text == "s" for other in chunks[-1].items)  # `the heart's pumping wall`
    for name in LEADS:
        if item.of(name):
            return "" if owned and name == "clauses" else name
    if item.is_unknown:
        if _is_prefixed(item.text, vocabulary):
            return "relations"
        # With a hyphen it is part of what describes: `kidney-shaped`.
        bound = bool(set(tokens[item.start].before) & DASHES)
        named = [other for other in chunks[-1].items if other.term is not None]
        owns = bool(named) and named[-1] is chunks[-1].items[-1] and _describes(named[-1], after)
        behind = not (bound or owned or owns) and bool(named)
        if behind and len(item.text) > 4 and item.text.endswith(("ed", "ing")):
            return "clauses"
    return ""


def _is_relating(item: Item, after: Item | None, tokens: Sequence[Token]) -> bool:
    """Whether a word that may be a noun is a verb of place: `what borders the spleen`."""
    before = tokens[item.start - 1].stem if item.start else ""
    return before in PRONOUNS or (after is not None and after.text in ARTICLES)


def _judges(chunk: Chunk, after: Item | None) -> bool:
    """Whether `is` behind a thing only begins what is said of it: `the pancreas is unremarkable`."""
    named = any(item.term is not None for item in chunk.items)
    return named and after is not None and (after.is_unknown or after.of("adjectives"))


def _describes(item: Item, after: Item | None) -> bool:
    """Whether a term before a participle is an adjective, which needs a noun: `renal collecting system`."""
    assert item.term is not None
    noun = after is not None and (after.is_unknown or after.of("neutral")) and not after.of("requests")
    return noun and item.text != item.term.value[0] and item.text.endswith(ADJECTIVES)


def _is_verb(chunks: Sequence[Chunk], after: Item | None) -> bool:
    """Whether `segment` asks: at the start, or behind words of no weight, and no number or `of` follows."""
    if after is None or after.of(NUMBER) or after.of("of") or after.text in ("to",):
        return False
    last = chunks[-1]
    if last.lead in ("", STOP, COMMA, "joins", "requests", "denials", "clauses", "resets", "accompanying"):
        return all(item.of("filler") or item.of("adjectives") or item.of("imaging") for item in last.items)
    return False


def _is_prefixed(word: str, vocabulary: Vocabulary) -> bool:
    """Whether a word places something by a known thing: `perirenal`, `subhepatic`, `extraprostatic`."""
    for prefix in vocabulary.words.lists["relation_prefixes"]:
        rest = word[len(prefix) :]
        if len(rest) > 4 and word.startswith(prefix) and rest in vocabulary.known:
            return vocabulary.is_term(rest)
    return False
