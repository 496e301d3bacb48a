"""Language identification of names: territories, languages and currencies in the Unicode CLDR, through Babel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from mlrun.data.datasets.labelled_text import TextData
from mlrun.data.row_data import Content
from mlrun.errors import DataError

LANGUAGES = (
    "cs", "de", "en", "es", "fi", "fr", "hu", "nl", "pl", "sv", "tr", "vi",  # Latin
    "ru", "uk",  # Cyrillic
    "ar", "fa",  # Arabic
)  # fmt: skip


class LanguageId(TextData):
    """Names with their language. A name that occurs in several languages is left out because its class is ambiguous.

    Args:
        problem, name, seed, options: see `TextData`.
        languages: CLDR codes (`de`, `pt_BR`).
    """

    def __init__(self, problem: str, name: str, seed: int, languages: Sequence[str] = LANGUAGES, **options: Any):
        super().__init__(problem, name, seed, **options)
        self.languages = list(languages)

    def read(self) -> Content:
        from importlib.metadata import version

        from babel import Locale, UnknownLocaleError

        english = Locale("en")
        names: dict[str, list[str]] = {}
        for code in self.languages:
            try:
                locale = Locale.parse(str(code))
            except (UnknownLocaleError, ValueError):
                raise DataError(
                    f"dataset.languages: {code!r} is not a language of the Unicode CLDR; codes are such as de, fr, pt_BR"
                ) from None
            found = {*locale.territories.values(), *locale.languages.values(), *locale.currencies.values()}
            written = {name.casefold(): name for name in sorted(found) if any(letter.isalpha() for letter in name)}
            names[locale.get_display_name(english)] = sorted(written.values())
        spread = Counter(name.casefold() for found in names.values() for name in found)
        pairs = [
            (name, language) for language, found in names.items() for name in found if spread[name.casefold()] == 1
        ]
        texts, classes = [name for name, _ in pairs], [language for _, language in pairs]
        return self.content_of(texts, classes, f"Unicode CLDR, Babel {version('babel')}")
