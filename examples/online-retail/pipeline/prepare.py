"""Stage 1: raw transactions -> items and purchase sequences (intermediate/items.jsonl, users.jsonl, baskets.jsonl).

A row counts when it is a sale (not cancelled, quantity and price above zero) of a product (a five-digit
stock code, perhaps with letters). Users and items are then thinned to a 5-core over *first* purchases.
Rows of one invoice share a time, so the order of the file breaks ties: neighbouring lines are related.
"""

import csv
import gzip
import json
import re
import statistics
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass

from settings import MIN_BUYERS_PER_ITEM, MIN_ITEMS_PER_USER, WORK

PRODUCT_CODE = re.compile(r"^\d{5}[A-Z]{0,2}$")


@dataclass(frozen=True)
class Sale:
    order: int  # row number in the file
    time: str  # ISO 8601 UTC; compares as text because every row has the same layout
    invoice: str
    code: str
    title: str
    price: float
    units: int
    customer: str  # empty when unknown
    country: str


def read_sales(path):
    """Yields the rows that are sales of products, in file order."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for order, row in enumerate(csv.DictReader(file)):
            code = row["StockCode"].upper()
            units, price = int(row["Quantity"]), float(row["UnitPrice"])
            if row["InvoiceNo"][:1] in "Cc":
                continue
            if units <= 0 or price <= 0 or not PRODUCT_CODE.match(code):
                continue
            yield Sale(order, row["InvoiceDate"], row["InvoiceNo"], code, row["Description"].strip(),
                       price, units, row["CustomerID"], row["Country"])


def first_purchases(sales, kept_codes):
    """The sales that are a customer's first of their item, among kept_codes (None keeps all)."""
    seen, firsts = set(), []
    for sale in sales:
        if (kept_codes is None or sale.code in kept_codes) and sale.code not in seen:
            seen.add(sale.code)
            firsts.append(sale)
    return firsts


def five_core(sales_by_customer):
    """Returns (customers, Counter of buyers per item), thinned until both minimums hold together."""
    kept_codes = None
    while True:
        firsts = {}
        for customer, sales in sales_by_customer.items():
            own = first_purchases(sales, kept_codes)
            if len(own) >= MIN_ITEMS_PER_USER:
                firsts[customer] = own
        buyers = Counter(sale.code for own in firsts.values() for sale in own)
        enough = {code for code, count in buyers.items() if count >= MIN_BUYERS_PER_ITEM}
        if enough == set(buyers):
            return sorted(firsts, key=int), buyers
        kept_codes = enough


def describe_items(buyers, known_sales, all_sales):
    """One record per item; freshness counts every sale, the other facts those to known customers."""
    titles, prices, units, countries = defaultdict(Counter), defaultdict(list), Counter(), defaultdict(set)
    for sale in known_sales:
        titles[sale.code][sale.title] += 1
        prices[sale.code].append(sale.price)
        units[sale.code] += sale.units
        countries[sale.code].add(sale.country)
    first, last = {}, {}
    for sale in all_sales:
        first[sale.code] = min(first.get(sale.code, sale.time), sale.time)
        last[sale.code] = max(last.get(sale.code, sale.time), sale.time)
    return [{
        "id": code,
        "title": titles[code].most_common(1)[0][0],
        "price": round(statistics.median(prices[code]), 4),
        "countries": sorted(countries[code]),
        "firstSold": first[code],
        "lastSold": last[code],
        "buyers": buyers[code],
        "units": units[code],
    } for code in sorted(buyers)]


def as_events(sales, index_of):
    """[item index, invoice, 1 when it is the first purchase of that item] per sale.

    Two lines of one item next to each other say nothing twice, so the second is dropped."""
    events, seen = [], set()
    for sale in sales:
        item = index_of.get(sale.code)
        if item is None or (events and events[-1][0] == item):
            continue
        events.append([item, sale.invoice, int(item not in seen)])
        seen.add(item)
    return events


def write_lines(name, records):
    with open(WORK / name, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record) + "\n")


def main(transactions_path):
    WORK.mkdir(exist_ok=True)
    all_sales = sorted(read_sales(transactions_path), key=lambda sale: (sale.time, sale.order))
    by_customer, by_invoice = defaultdict(list), defaultdict(list)
    for sale in all_sales:
        if sale.customer:
            by_customer[sale.customer].append(sale)
        else:
            by_invoice[sale.invoice].append(sale)
    customers, buyers = five_core(by_customer)
    items = describe_items(buyers, [s for own in by_customer.values() for s in own], all_sales)
    index_of = {item["id"]: index for index, item in enumerate(items)}
    users = [{"user": number, "events": as_events(by_customer[customer], index_of)}
             for number, customer in enumerate(customers, start=1)]
    baskets = [{"events": events} for events in
               (as_events(own, index_of) for own in by_invoice.values()) if len(events) > 1]
    write_lines("items.jsonl", items)
    write_lines("users.jsonl", users)
    write_lines("baskets.jsonl", baskets)
    firsts = sum(event[2] for user in users for event in user["events"])
    print(f"{len(users)} users, {len(items)} items, {firsts} first purchases, "
          f"{sum(len(u['events']) for u in users)} events; "
          f"{len(baskets)} anonymous invoices with {sum(len(b['events']) for b in baskets)} lines")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: prepare.py TRANSACTIONS.csv.gz (the Online Retail table; see README.md)")
    main(sys.argv[1])
