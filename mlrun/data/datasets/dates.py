"""Dates in the formats of several languages, paired with ISO 8601: the classical exercise in attention."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.datasets.pairs import PairContent, Pairs, pair_content
from mlrun.errors import DataError

if TYPE_CHECKING:
    from babel import Locale

FORMS = ("full", "long", "medium", "short")  # of the Unicode CLDR
# the range in which POSIX maps two-digit years to a unique century
FIRST, LAST = datetime.date(1969, 1, 1), datetime.date(2068, 12, 31)


class Dates(Pairs):
    """Texts such as "Mittwoch, 5. November 1997" -> "1997-11-05"; all texts differ.

    Needs Babel, which brings the names and formats of the CLDR (https://cldr.unicode.org).

    Args:
        problem, name, seed, options: see `Pairs`.
        rows: number of pairs.
        languages: CLDR locales such as en, de, pt_BR.
        forms: names of CLDR date formats. Of numeric formats that languages interpret differently (3/4/99), only that of the first
            language is used.
        data_seed: seed of the generator.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        rows: int = 14000,
        languages: Sequence[str] = ("en", "de"),
        forms: Sequence[str] = FORMS,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        self.count, self.languages, self.forms, self.data_seed = rows, list(languages), list(forms), data_seed

    def read(self) -> PairContent:
        from babel.dates import format_date, parse_pattern

        patterns = [(locale, parse_pattern(pattern)) for locale, pattern in unambiguous(self._patterns())]
        rng = np.random.default_rng(self.data_seed)
        days = (LAST - FIRST).days + 1
        found: dict[str, str] = {}
        if self.count > days * len(patterns) // 2:
            raise DataError(f"dataset.rows={self.count}: {len(patterns)} formats do not have that many distinct texts")
        while len(found) < self.count:
            for day, at in zip(rng.integers(days, size=self.count), rng.integers(len(patterns), size=self.count)):
                date, (locale, pattern) = FIRST + datetime.timedelta(int(day)), patterns[at]
                found[spaced(pattern.apply(date, locale))] = date.isoformat()
                if len(found) == self.count:
                    break
        return pair_content(list(found), list(found.values()), f"Unicode CLDR by Babel: {format_date.__module__}")

    def _patterns(self) -> Iterator[tuple[Locale, str]]:
        """(locale, pattern) for every language and form."""
        from babel import Locale, UnknownLocaleError

        unknown = [form for form in self.forms if form not in FORMS]
        if unknown or not self.forms:
            raise DataError(f"dataset.forms={self.forms}: choose from {', '.join(FORMS)}")
        for language in self.languages:
            try:
                locale = Locale.parse(str(language))
            except (UnknownLocaleError, ValueError):
                raise DataError(
                    f"dataset.languages: the CLDR has no {language}; give codes such as en, de, pt_BR"
                ) from None
            for form in self.forms:
                yield locale, locale.date_formats[form].pattern


def spaced(text: str) -> str:
    """Replaces white space by single plain blanks: CLDR uses narrow and no-break spaces."""
    return " ".join(text.split())


def unambiguous(patterns: Iterable[tuple[Locale | str, str]]) -> list[tuple[Locale | str, str]]:
    """The (locale, pattern) whose texts all differ and mean no other date under an earlier pattern."""
    from babel.dates import parse_pattern

    year = [datetime.date(2003, 1, 1) + datetime.timedelta(day) for day in range(365)]
    meant: dict[str, datetime.date] = {}
    kept = []
    for locale, pattern in patterns:
        texts = {spaced(parse_pattern(pattern).apply(date, locale)): date for date in year}
        if len(texts) == len(year) and all(meant.get(text, date) == date for text, date in texts.items()):
            meant.update(texts)
            kept.append((locale, pattern))
    return kept
