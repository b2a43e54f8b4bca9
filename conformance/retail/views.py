#!/usr/bin/env python3
"""Compares what the views of the retail mesh wrote with what pandas makes of the same tables: nothing of Weir is used.

usage: conformance/retail/views.py --kafka HOST:PORT --registry URL --router URL [--events FOLDER] [--wait PRODUCT ...]

With --wait it returns once every view has read all accepted events of the products, and has nothing left to read.
Otherwise it reads each view's topic from start to end (read_committed), takes the last word on every key of a table,
and compares row for row with pandas; amounts to the cent. It prints what differs, one line per view, and last the line
`views=N rows=N different=N quarantined=N`. Exit code 1 if anything differs, or a view has put anything aside.
"""

import argparse
import hashlib
import io
import json
import pathlib
import sys
import time
import urllib.request

import fastavro
import numpy
import pandas
from count import read

SALT = "retail-mesh"
PATIENCE_S = 300.0
WEEK_MS, GRACE_MS = 7 * 86_400_000, 86_400_000
PRODUCTS = {
    "households": "customer.households",
    "products": "merchandising.products",
    "campaigns": "marketing.campaigns",
    "coupon_redemptions": "marketing.coupon_redemptions",
    "transactions": "sales.transactions",
}


class Tables:
    """The accepted events of each product, as the contracts say what is accepted."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def __getitem__(self, name: str) -> pandas.DataFrame:
        text = {"coupon_upc": "string", "campaign_id": "int64", "product_id": "int64"}
        frame = pandas.read_csv(self.folder / f"{name}.csv", dtype={k: v for k, v in text.items()}, keep_default_na=True)
        if name == "transactions":
            frame = frame[(frame.quantity > 0) & (frame.coupon_match_disc <= frame.coupon_disc)].copy()
            frame["at"] = pandas.to_datetime(frame.transaction_timestamp, utc=True).astype("datetime64[ms, UTC]").astype("int64")
        return frame


def cents(amount) -> int | None:
    return None if amount is None else round(float(amount) * 100)


def sha(text: str) -> str:
    return hashlib.sha256(f"{SALT}\0{text}".encode()).hexdigest()


def per_household(t: pandas.DataFrame) -> pandas.DataFrame:
    saved = ((t.coupon_disc + t.coupon_match_disc) * 100).round().astype("int64")
    grouped = t.assign(saved=saved, exact=(t.sales_value * 100).round().astype("int64")).groupby("household_id")
    return grouped.agg(
        lines=("basket_id", "size"), baskets=("basket_id", "nunique"), spent=("exact", "sum"), saved=("saved", "sum"),
        last=("at", "max"),
    )  # fmt: skip


def household_spend(tables: Tables) -> dict:
    return {
        str(k): (int(r.lines), int(r.baskets), int(r.spent), int(r.saved), int(r["last"]))
        for k, r in per_household(tables["transactions"]).iterrows()
    }


def campaign_reach(tables: Tables) -> dict:
    grouped = tables["campaigns"].groupby("household_id").campaign_id
    return {str(k): (len(ids), tuple(sorted(set(ids)))) for k, ids in grouped}


def coupon_use(tables: Tables) -> dict:
    grouped = tables["coupon_redemptions"].groupby("household_id").redemption_date
    return {str(k): (len(dates), dates.max()) for k, dates in grouped}


def household_profile(tables: Tables) -> dict:
    """Demographics and campaigns of whoever has bought something."""
    reach = campaign_reach(tables)
    told = {str(r.household_id): (str(r.age)[:2], sha(r.income)) for r in tables["households"].itertuples()}
    buyers = map(str, tables["transactions"].household_id.unique())
    return {k: (*told.get(k, (None, None)), reach.get(k, (0,))[0]) for k in buyers}


def customer_360(tables: Tables) -> dict:
    profile, use = household_profile(tables), coupon_use(tables)
    rows = {}
    for k, r in per_household(tables["transactions"]).iterrows():
        key = str(k)
        age, income, campaigns = profile[key]
        coupons = use.get(key, (0,))[0]
        rows[key] = (
            int(r.baskets), int(r.spent), int(r["last"]), campaigns, coupons,
            round(coupons / campaigns, 9) if campaigns else None, age, income, age is not None,
        )  # fmt: skip
    return rows


def weekly_visits(tables: Tables) -> dict:
    """The weeks that a later purchase in the same partition has closed, a day after they end."""
    t = tables["transactions"]
    t = t.assign(start=t["at"] // WEEK_MS * WEEK_MS, exact=(t.sales_value * 100).round().astype("int64"))
    grouped = t.groupby(["household_id", "start"]).agg(visits=("basket_id", "nunique"), spent=("exact", "sum"))
    grouped = grouped[grouped.spent > 0]
    latest = t["at"].max()
    rows = {}
    for (household, start), r in grouped.iterrows():
        # Every partition has purchases in the last hours, so that what is closed is the same in all.
        if start + WEEK_MS + GRACE_MS <= latest - 6 * 3_600_000:
            rows[f"{household}|{start}"] = (int(r.visits), int(r.spent))
    return rows


def weekly_households(tables: Tables) -> dict:
    profile = household_profile(tables)
    return {key: (*row, *profile[key.split("|")[0]]) for key, row in weekly_visits(tables).items()}


def department_spend(tables: Tables) -> dict:
    joined = tables["transactions"].merge(tables["products"][["product_id", "department"]], on="product_id")
    joined = joined.assign(exact=(joined.sales_value * 100).round().astype("int64")).groupby("department")
    return {k: (len(g), int(g.exact.sum())) for k, g in joined}


def purchases_by_store(tables: Tables) -> list:
    t = tables["transactions"]
    hashed = {k: sha(str(k)) for k in t.household_id.unique()}
    return [
        (str(r.store_id), hashed[r.household_id], cents(r.sales_value), r.at)
        for r in t[["store_id", "household_id", "sales_value", "at"]].itertuples()
    ]


def purchases_enriched(tables: Tables) -> list:
    t = tables["transactions"]
    t = t[t.sales_value >= 1.0]
    sizes = {r.household_id: masked(r.household_size) for r in tables["households"].itertuples()}
    return [
        (str(r.household_id), r.basket_id, r.product_id, cents(r.sales_value), r.at, sizes.get(r.household_id))
        for r in t[["household_id", "basket_id", "product_id", "sales_value", "at"]].itertuples()
    ]


def masked(text: str) -> str:
    kinds = (("n", str.isdigit), ("X", str.isupper), ("x", str.islower))
    return "".join(next((shown for shown, fits in kinds if fits(c)), "-") for c in text)


def ms(when) -> int:
    return round(when.timestamp() * 1000)


# View: what pandas says, and a row of the topic in the same form.
VIEWS = {
    "sales.household_spend": (
        household_spend,
        lambda v: (v["lines"], v["baskets"], cents(v["spent"]), cents(v["saved_by_coupons"]), ms(v["last_purchase"])),
    ),
    "marketing.campaign_reach": (campaign_reach, lambda v: (v["campaigns"], tuple(sorted(v["campaign_ids"])))),
    "marketing.coupon_use": (coupon_use, lambda v: (v["coupons"], str(v["last_redemption"]))),
    "customer.customer_360": (
        customer_360,
        lambda v: (
            v["baskets"], cents(v["spent"]), ms(v["last_purchase"]), v["campaigns"], v["coupons"],
            None if v["response"] is None else round(v["response"], 9),
            v["age_from"], v["income_group"], v["has_demographics"],
        ),  # fmt: skip
    ),
    "customer.household_profile": (household_profile, lambda v: (v["age_from"], v["income_group"], v["campaigns"])),
    "sales.weekly_visits": (weekly_visits, lambda v: (v["visits"], cents(v["spent"]))),
    "sales.weekly_households": (
        weekly_households,
        lambda v: (v["visits"], cents(v["spent"]), v["age_from"], v["income_group"], v["campaigns"]),
    ),
    "merchandising.department_spend": (department_spend, lambda v: (v["lines"], cents(v["spent"]))),
    "sales.purchases_by_store": (
        purchases_by_store,
        lambda v: (v["household"], cents(v["sales_value"]), ms(v["transaction_timestamp"])),
    ),
    "sales.purchases_enriched": (
        purchases_enriched,
        lambda v: (
            v["basket_id"], v["product_id"], cents(v["sales_value"]), ms(v["transaction_timestamp"]),
            v["household_size"],
        ),  # fmt: skip
    ),
}


class Reader:
    """Reads topics of framed Avro, each value with the schema it names, logical types and all."""

    def __init__(self, kafka: str, registry: str):
        self.kafka, self.registry, self.known = kafka, registry.rstrip("/"), {}

    def decode(self, value: bytes) -> dict:
        number = int.from_bytes(value[1:5], "big")
        if number not in self.known:
            with urllib.request.urlopen(f"{self.registry}/schemas/ids/{number}", timeout=10) as answer:
                self.known[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        return fastavro.schemaless_reader(io.BytesIO(value[5:]), self.known[number])

    def records(self, topic: str):
        for batch in read(self.kafka, topic):
            for message in batch:
                value = message.value()
                yield message.key().decode(), None if value is None else self.decode(value)


def compare(view: str, reader: Reader, tables: Tables) -> tuple[int, int]:
    expected, shape = VIEWS[view]
    expected = expected(tables)
    if isinstance(expected, dict):
        found = {}
        for key, value in reader.records(view):
            if value is None:
                found.pop(key, None)
            else:
                found[key] = shape(value)
        different = [k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k)]
        for key in sorted(different)[:5]:
            print(f"wrong: {view}: {key}: pandas {expected.get(key)}, the view {found.get(key)}")
        return len(expected), len(different)
    expected = pandas.Series(sorted(expected, key=repr))
    found = pandas.Series(sorted(((key, *shape(value)) for key, value in reader.records(view)), key=repr))
    if len(expected) != len(found):
        print(f"wrong: {view}: {len(expected)} rows expected, {len(found)} found")
        return len(expected), abs(len(expected) - len(found))
    different = numpy.flatnonzero([a != b for a, b in zip(expected, found, strict=True)])
    for row in different[:5]:
        print(f"wrong: {view}: pandas {expected[row]}, the view {found[row]}")
    return len(expected), len(different)


def wait(router: str, products: list[str], tables: Tables):
    """Returns once every view has received what the products it reads have accepted, and waits for nothing."""
    wanted = {PRODUCTS[name]: len(tables[name]) for name in products}
    deadline, last = time.monotonic() + PATIENCE_S, None
    while True:
        with urllib.request.urlopen(f"{router}/views", timeout=10) as answer:
            views = json.load(answer)
        done = len(views) == len(VIEWS) and all(view["tasks"] for view in views)
        for view in views:
            topics = {t for task in view["tasks"] for t in task["positions"]}
            done &= view["total"]["received"] >= sum(n for topic, n in wanted.items() if topic in topics)
            done &= all(task["lag"] == 0 for task in view["tasks"])
        now = [view["total"] for view in views]
        # Stages and views of views go on for a moment after the last record of a product.
        if done and now == last:
            return
        last = now
        if time.monotonic() > deadline:
            raise SystemExit(f"views: the router is not done within {PATIENCE_S:.0f} s: {json.dumps(views)[:2000]}")
        time.sleep(2)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--kafka", required=True)
    arguments.add_argument("--registry", required=True)
    arguments.add_argument("--router", required=True)
    arguments.add_argument("--events", type=pathlib.Path, default=pathlib.Path(".weir/retail"))
    arguments.add_argument("--wait", nargs="+", choices=PRODUCTS, help="only wait until these are through")
    given = arguments.parse_args()
    tables = Tables(given.events)
    if given.wait:
        wait(given.router.rstrip("/"), given.wait, tables)
        return 0
    reader = Reader(given.kafka, given.registry)
    rows = different = 0
    for view in VIEWS:
        count, wrong = compare(view, reader, tables)
        print(f"{view}: {count} rows, {wrong} different")
        rows, different = rows + count, different + wrong
    with urllib.request.urlopen(f"{given.router.rstrip('/')}/views", timeout=10) as answer:
        quarantined = sum(view["total"]["quarantined"] for view in json.load(answer))
    print(f"views={len(VIEWS)} rows={rows} different={different} quarantined={quarantined}")
    return 1 if different or quarantined else 0


if __name__ == "__main__":
    sys.exit(main())
