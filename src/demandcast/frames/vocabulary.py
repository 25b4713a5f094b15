"""The words that tables use, in English, German, French, Spanish, Italian, Dutch and Chinese.

A column's name is compared by its words: "Lineitem quantity", "Qty Sold" and "Menge (Stk)" hold a word for
the target, "Posting Date" one for the time. Accents and capitals do not matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache, lru_cache

# most telling first: where two columns have a word, the one with the earlier word is taken
TIME = (
    "ds", "timestamp", "date", "datetime", "time", "day", "week", "month", "quarter", "year", "hour",
    "period", "step", "t", "order date", "sales date", "created at", "year month", "year week",
    "yearmonth", "yearweek", "calendar week", "calendar month",
    "datum", "tag", "kalendertag", "buchungsdatum", "belegdatum", "woche", "kalenderwoche", "kw", "monat",
    "quartal", "jahr", "stunde", "zeit", "zeitstempel", "periode",
    "jour", "semaine", "mois", "trimestre", "annee", "heure",
    "fecha", "dia", "semana", "mes", "ano", "hora", "data", "giorno", "settimana", "mese", "anno",
    "maand", "jaar", "dag",
    "日期", "时间", "日付", "月份", "年月", "周", "年周",
)  # fmt: skip
TARGET = (
    "y", "target", "demand", "sales", "units", "units sold", "unit sales", "quantity", "quantity sold",
    "qty", "sold", "sales quantity", "value", "volume", "count", "amount", "orders", "revenue", "turnover",
    "load", "consumption", "usage", "order quantity", "shipped",
    "menge", "absatz", "umsatz", "verbrauch", "stuck", "stueck", "absatzmenge", "verkaufsmenge", "nachfrage",
    "bedarf", "anzahl", "wert",
    "quantite", "ventes", "vente", "demande", "chiffre d affaires", "ca",
    "cantidad", "ventas", "venta", "demanda", "unidades", "importe",
    "quantita", "vendite", "venduto", "domanda", "aantal", "verkoop", "omzet", "vraag",
    "销量", "销售量", "数量", "需求", "需求量", "销售额", "金额",
)  # fmt: skip
WHOLE_KEY = ("unique id", "series id", "ts id", "time series id", "key", "series")
KEY = (
    "id", "item", "product", "sku", "article", "material", "part", "store", "shop", "outlet", "location",
    "site", "warehouse", "depot", "region", "customer", "client", "channel", "market", "meter", "sensor",
    "zone", "plant", "asin", "ean", "gtin", "upc", "branch", "country", "lineitem",
    "artikel", "produkt", "filiale", "laden", "markt", "lager", "werk", "kunde", "standort", "warengruppe",
    "materialnummer", "artikelnummer", "artnr", "land", "standort",
    "produit", "magasin", "client", "entrepot", "reference",
    "producto", "articulo", "tienda", "almacen", "cliente", "referencia",
    "prodotto", "articolo", "negozio", "magazzino", "winkel", "klant",
    "商品", "产品", "货号", "门店", "店铺", "仓库", "品名", "物料",
)  # fmt: skip
KEY_ENDINGS = (
    "", "id", "code", "no", "nr", "nbr", "number", "name", "key", "nummer", "numero", "num", "bezeichnung",
    "编号", "编码", "名称",
)  # fmt: skip
KEY_NAMES = frozenset(
    name
    for word in KEY
    for ending in KEY_ENDINGS
    for name in (word, f"{word} {ending}", f"{word}{ending}")
)
TOTALS = (
    "total", "totals", "grand total", "subtotal", "sub total", "sum", "overall", "overall result", "all items",
    "summe", "gesamt", "gesamtsumme", "gesamtergebnis", "zwischensumme", "ergebnis", "insgesamt",
    "somme", "total general", "totaux", "sous total", "suma", "total geral", "totale", "somma", "totaal",
    "合计", "总计", "小计", "总和",
)  # fmt: skip
DATE = (
    "date",
    "datum",
    "datetime",
    "timestamp",
    "day",
    "tag",
    "fecha",
    "data",
    "日期",
    "dag",
    "jour",
)
START = (
    "start", "from", "begin", "begins", "first day", "start date", "valid from", "von", "ab", "beginn", "start datum",
    "gultig von", "debut", "date debut", "inicio", "fecha inicio", "desde", "inizio", "开始", "开始日期",
)  # fmt: skip
END = (
    "end", "to", "until", "till", "ends", "last day", "end date", "valid to", "valid until", "bis", "ende", "end datum",
    "gultig bis", "fin", "date fin", "fecha fin", "hasta", "fine", "结束", "结束日期",
)  # fmt: skip
WEEK = (
    "week", "weeks", "weekno", "wk", "woche", "kw", "kalenderwoche", "semaine", "semana", "settimana", "yearweek",
    "yyyyww", "iyyyiw", "周", "年周", "jahrwoche",
)  # fmt: skip
YEAR = ("year", "jahr", "annee", "ano", "anno", "jaar", "fiscal year", "年", "年份")
MONTH = ("month", "monat", "mois", "mes", "mese", "maand", "月", "月份")
QUARTER = ("quarter", "quartal", "trimestre", "kwartaal", "季度")
DAY = ("day", "tag", "jour", "dia", "giorno", "dag", "日")
HOUR = (
    "hour",
    "hr",
    "stunde",
    "heure",
    "hora",
    "ora",
    "uur",
    "time",
    "uhrzeit",
    "zeit",
    "clock",
    "小时",
    "时间",
)

MONTHS = (
    ("january", "jan", "januar", "janner", "janvier", "janv", "enero", "ene", "gennaio", "gen", "januari"),
    ("february", "feb", "februar", "fevrier", "fevr", "febrero", "febbraio", "februari", "fev"),
    ("march", "mar", "marz", "maerz", "mars", "marzo", "maart", "mrt", "mrz"),
    ("april", "apr", "avril", "avr", "abril", "abr", "aprile"),
    ("may", "mai", "mayo", "maggio", "mag", "mei"),
    ("june", "jun", "juni", "juin", "junio", "giugno", "giu"),
    ("july", "jul", "juli", "juillet", "juil", "julio", "luglio", "lug"),
    ("august", "aug", "aout", "agosto", "ago", "augustus"),
    ("september", "sep", "sept", "septembre", "septiembre", "settembre", "set"),
    ("october", "oct", "oktober", "okt", "octobre", "octubre", "ottobre", "ott"),
    ("november", "nov", "novembre", "noviembre"),
    ("december", "dec", "dezember", "dez", "decembre", "diciembre", "dic", "dicembre"),
)  # fmt: skip
WEEKDAYS = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
    "mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun",
    "montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonnabend", "sonntag",
    "mo", "di", "mi", "do", "fr", "sa", "so",
    "lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche",
    "lunes", "martes", "miercoles", "jueves", "viernes", "sabado", "domingo",
)  # fmt: skip


@lru_cache(maxsize=1 << 16)  # a table may have many thousands of columns, asked for word by word
def plain(name: str) -> str:
    """Normalise a name: lower case, no accents, one space between words."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    letters = unicodedata.normalize("NFKD", split.casefold())
    bare = "".join(c for c in letters if not unicodedata.combining(c))
    return " ".join(re.findall(r"[^\W_]+", bare))


def is_word(name: str, words: Collection[str]) -> bool:
    """Return whether a name equals one of the words."""
    return plain(name) in words


def holds(name: str, words: Iterable[str]) -> bool:
    """Return whether a name contains one of the words."""
    return any(f" {word} " in f" {plain(name)} " for word in words)


def columns_with_words(columns: Sequence[str], words: tuple[str, ...]) -> list[str]:
    """Return columns whose name equals one of the words, then those that end with one, then those that contain one.

    Within each of the three, in the order of the words.
    """
    ranks, ideographs, longest = _rank(words)
    placed = [
        (*closeness, position, column)
        for position, column in enumerate(columns)
        if (closeness := _closeness(plain(column), ranks, ideographs, longest))
    ]
    return list(dict.fromkeys(column for *_, column in sorted(placed)))


@cache
def _rank(words: tuple[str, ...]) -> tuple[dict[str, int], tuple[str, ...], int]:
    """Return the rank of each word, the words in ideographs, and the word count of the longest."""
    ranks = {word: rank for rank, word in reversed(list(enumerate(words)))}
    ideographs = tuple(word for word in words if word[0] > "\u2e80")
    return ranks, ideographs, max(len(word.split()) for word in words)


def _closeness(
    name: str, ranks: dict[str, int], ideographs: tuple[str, ...], longest: int
) -> tuple[int, int] | None:
    """Return how a name matches (0 equals a word, 1 ends with one, 2 contains one) and the rank of that word."""
    if name in ranks:
        return 0, ranks[name]
    parts = name.split(" ")
    ends = [" ".join(parts[i:]) for i in range(max(1, len(parts) - longest), len(parts))]
    ends += [word for word in ideographs if name.endswith(word)]
    inside = [
        " ".join(parts[i : i + n]) for n in range(1, longest + 1) for i in range(len(parts) - n + 1)
    ]
    inside = [word for word in inside if len(word) > 1]
    inside += [word for word in ideographs if word in name]
    for closeness, words in ((1, ends), (2, inside)):
        if known := [ranks[word] for word in words if word in ranks]:
            return closeness, min(known)
    return None
