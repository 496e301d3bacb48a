"""Which language a name is in: names of territories, languages and currencies in the Unicode CLDR, through Babel."""

from __future__ import annotations

from collections import Counter

from mlrun.data.datasets.labelled_text import TextData
from mlrun.errors import DataError

LANGUAGES = (
    "cs", "de", "en", "es", "fi", "fr", "hu", "nl", "pl", "sv", "tr", "vi",  # Latin
    "ru", "uk",  # Cyrillic
    "ar", "fa",  # Arabic
)  # fmt: skip


class LanguageId(TextData):
    """languages: CLDR codes (`de`, `pt_BR`). A name that is written alike in two of them is left out: it has no one answer."""

    def __init__(self, problem, name, seed, languages=LANGUAGES, **options):
        super().__init__(problem, name, seed, **options)
        self.languages = list(languages)

    def read(self):
        from importlib.metadata import version

        from babel import Locale, UnknownLocaleError

        english, names = Locale("en"), {}
        for code in self.languages:
            try:
                locale = Locale.parse(str(code))
            except (UnknownLocaleError, ValueError):
                raise DataError(
                    f"dataset.languages: {code!r} is no language of the Unicode CLDR; codes are such as de, fr, pt_BR"
                ) from None
            found = {*locale.territories.values(), *locale.languages.values(), *locale.currencies.values()}
            written = {name.casefold(): name for name in sorted(found) if any(letter.isalpha() for letter in name)}
            names[locale.get_display_name(english)] = sorted(written.values())
        spread = Counter(name.casefold() for found in names.values() for name in found)
        pairs = [
            (name, language) for language, found in names.items() for name in found if spread[name.casefold()] == 1
        ]
        texts, classes = zip(*pairs) if pairs else ((), ())
        return self.content_of(list(texts), list(classes), f"Unicode CLDR, Babel {version('babel')}")
