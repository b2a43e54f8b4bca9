//! The range of a made-up retailer: departments, categories, types and sizes, and what they cost.
//!
//! Invented from end to end. The records go to `merchandising.products`; the prices stay inside the generator and show up
//! only as what the tills take.

use serde_json::{Value, json};

use super::rng::Rng;

/// When in the day something sells best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Daypart {
    /// At any time.
    Any,
    /// Before noon.
    Morning,
    /// After five.
    Evening,
}

/// One product: its record, and what the tills need to sell it.
#[derive(Clone, Debug)]
pub struct Article {
    /// Names the product everywhere.
    pub product_id: i32,
    /// Who makes it.
    pub manufacturer_id: i32,
    /// Top of the range tree.
    pub department: &'static str,
    /// The retailer's own brand, not a manufacturer's.
    pub private: bool,
    /// Second level of the range tree.
    pub category: &'static str,
    /// Third level of the range tree.
    pub kind: &'static str,
    /// Shelf-label text; none for loose goods.
    pub size: Option<&'static str>,
    /// Shelf price of one unit in cents; for fuel, of one gallon.
    pub cents: i64,
    /// When it sells best.
    pub daypart: Daypart,
    /// Sold by the thousandth of a gallon.
    pub fuel: bool,
}

impl Article {
    /// The event of `merchandising.products`.
    pub fn event(&self) -> Value {
        json!({
            "product_id": self.product_id,
            "manufacturer_id": self.manufacturer_id,
            "department": self.department,
            "brand": if self.private { "Private" } else { "National" },
            "product_category": self.category,
            "product_type": self.kind,
            "package_size": self.size,
        })
    }
}

/// A shelf: the products of one type differ by maker and size.
struct Shelf {
    department: &'static str,
    category: &'static str,
    kind: &'static str,
    cents: i64,
    sizes: &'static [&'static str],
    daypart: Daypart,
}

const fn shelf(
    department: &'static str,
    category: &'static str,
    kind: &'static str,
    cents: i64,
    sizes: &'static [&'static str],
    daypart: Daypart,
) -> Shelf {
    Shelf { department, category, kind, cents, sizes, daypart }
}

use Daypart::{Any, Evening, Morning};

const FUEL: &str = "FUEL STATION";
const LOOSE: &[&str] = &[];

const SHELVES: &[Shelf] = &[
    shelf("BAKERY", "LOAVES", "RYE LOAF", 399, &["20 OZ", "32 OZ"], Morning),
    shelf("BAKERY", "LOAVES", "WHOLE WHEAT LOAF", 349, &["20 OZ", "24 OZ"], Morning),
    shelf("BAKERY", "LOAVES", "BAGUETTE", 229, &["9 OZ"], Any),
    shelf("BAKERY", "SMALL BAKES", "BUTTER CROISSANT", 149, &["1 CT", "4 CT"], Morning),
    shelf("BAKERY", "SMALL BAKES", "CINNAMON KNOT", 179, &["1 CT", "6 CT"], Morning),
    shelf("DAIRY & EGGS", "MILK", "WHOLE MILK", 289, &["1 QT", "1 GA"], Morning),
    shelf("DAIRY & EGGS", "MILK", "SKIMMED MILK", 279, &["1 QT", "1 GA"], Morning),
    shelf("DAIRY & EGGS", "MILK", "OAT DRINK", 369, &["32 OZ", "64 OZ"], Morning),
    shelf("DAIRY & EGGS", "YOGHURT", "PLAIN YOGHURT", 119, &["6 OZ", "32 OZ"], Morning),
    shelf("DAIRY & EGGS", "YOGHURT", "BERRY YOGHURT", 139, &["6 OZ", "4 PK"], Morning),
    shelf("DAIRY & EGGS", "HARD CHEESE", "AGED CHEDDAR", 549, &["8 OZ", "16 OZ"], Any),
    shelf("DAIRY & EGGS", "HARD CHEESE", "GRATED MOUNTAIN CHEESE", 469, &["6 OZ"], Evening),
    shelf("DAIRY & EGGS", "EGGS", "FREE RANGE EGGS", 429, &["6 CT", "12 CT", "18 CT"], Morning),
    shelf("FRUIT & VEGETABLES", "FRUIT", "BANANAS", 79, LOOSE, Any),
    shelf("FRUIT & VEGETABLES", "FRUIT", "CRISP APPLES", 199, &["3 LB"], Any),
    shelf("FRUIT & VEGETABLES", "FRUIT", "STRAWBERRIES", 399, &["16 OZ"], Any),
    shelf("FRUIT & VEGETABLES", "VEGETABLES", "VINE TOMATOES", 249, LOOSE, Any),
    shelf("FRUIT & VEGETABLES", "VEGETABLES", "BABY SPINACH", 329, &["5 OZ", "10 OZ"], Any),
    shelf("FRUIT & VEGETABLES", "VEGETABLES", "WAXY POTATOES", 349, &["5 LB"], Any),
    shelf("FRUIT & VEGETABLES", "HERBS", "BASIL POT", 259, &["1 CT"], Evening),
    shelf("BUTCHER", "BEEF", "MINCED BEEF", 649, &["16 OZ", "3 LB"], Evening),
    shelf("BUTCHER", "BEEF", "RIBEYE", 1599, LOOSE, Evening),
    shelf("BUTCHER", "POULTRY", "CHICKEN THIGHS", 579, &["24 OZ"], Evening),
    shelf("BUTCHER", "PORK", "SMOKED BACON", 599, &["12 OZ", "16 OZ"], Morning),
    shelf("FISH COUNTER", "FILLETS", "SALMON FILLET", 1299, LOOSE, Evening),
    shelf("FISH COUNTER", "SHELLFISH", "COOKED PRAWNS", 999, &["12 OZ"], Evening),
    shelf("PANTRY", "PASTA & RICE", "SPAGHETTI", 159, &["16 OZ", "32 OZ"], Evening),
    shelf("PANTRY", "PASTA & RICE", "LONG GRAIN RICE", 289, &["2 LB", "5 LB"], Evening),
    shelf("PANTRY", "TINS", "CHOPPED TOMATOES", 119, &["14 OZ", "28 OZ"], Any),
    shelf("PANTRY", "TINS", "CHICK PEAS", 109, &["15 OZ"], Any),
    shelf("PANTRY", "OILS & VINEGARS", "OLIVE OIL", 899, &["17 OZ", "34 OZ"], Any),
    shelf("PANTRY", "BAKING", "PLAIN FLOUR", 299, &["5 LB"], Any),
    shelf("PANTRY", "BAKING", "CANE SUGAR", 319, &["4 LB"], Any),
    shelf("BREAKFAST", "CEREALS", "HONEY HOOPS", 429, &["12 OZ", "18 OZ"], Morning),
    shelf("BREAKFAST", "CEREALS", "ROLLED OATS", 379, &["18 OZ", "42 OZ"], Morning),
    shelf("BREAKFAST", "SPREADS", "PEANUT SPREAD", 349, &["16 OZ", "28 OZ"], Morning),
    shelf("BREAKFAST", "COFFEE & TEA", "GROUND COFFEE", 799, &["10 OZ", "24 OZ"], Morning),
    shelf("BREAKFAST", "COFFEE & TEA", "GREEN TEA BAGS", 399, &["20 CT", "40 CT"], Any),
    shelf("DRINKS", "SODA", "COLA", 199, &["2 LT", "12 PK"], Any),
    shelf("DRINKS", "SODA", "LEMON SODA", 189, &["2 LT", "12 PK"], Any),
    shelf("DRINKS", "JUICE", "ORANGE JUICE", 399, &["52 OZ", "89 OZ"], Morning),
    shelf("DRINKS", "WATER", "SPARKLING WATER", 129, &["1 LT", "8 PK"], Any),
    shelf("BEER & WINE", "BEER", "PALE ALE", 1049, &["6 PK", "12 PK"], Evening),
    shelf("BEER & WINE", "WINE", "RED TABLE WINE", 1199, &["750 ML"], Evening),
    shelf("SNACKS & SWEETS", "CRISPS", "SALTED CRISPS", 349, &["8 OZ", "13 OZ"], Evening),
    shelf("SNACKS & SWEETS", "CRISPS", "CORN CHIPS", 329, &["10 OZ", "17 OZ"], Evening),
    shelf("SNACKS & SWEETS", "CHOCOLATE", "MILK CHOCOLATE BAR", 199, &["3.5 OZ", "7 OZ"], Any),
    shelf("SNACKS & SWEETS", "BISCUITS", "OAT BISCUITS", 289, &["10 OZ"], Any),
    shelf("FROZEN FOODS", "ICE CREAM", "VANILLA ICE CREAM", 499, &["16 OZ", "48 OZ"], Evening),
    shelf("FROZEN FOODS", "READY MEALS", "MARGHERITA PIZZA", 549, &["12 OZ", "22 OZ"], Evening),
    shelf("FROZEN FOODS", "FROZEN VEGETABLES", "GARDEN PEAS", 199, &["12 OZ", "32 OZ"], Any),
    shelf("BABY & CHILD", "NAPPIES", "NAPPIES SIZE FOUR", 1299, &["32 CT", "84 CT"], Any),
    shelf("BABY & CHILD", "BABY FOOD", "CARROT PUREE", 129, &["4 OZ"], Any),
    shelf("PETS", "CAT", "CAT FOOD IN JELLY", 99, &["3 OZ", "24 PK"], Any),
    shelf("PETS", "DOG", "DRY DOG FOOD", 1899, &["15 LB", "35 LB"], Any),
    shelf("HOUSEHOLD", "LAUNDRY", "LIQUID DETERGENT", 1099, &["50 OZ", "100 OZ"], Any),
    shelf("HOUSEHOLD", "PAPER", "KITCHEN ROLL", 799, &["2 CT", "6 CT"], Any),
    shelf("HOUSEHOLD", "PAPER", "TOILET TISSUE", 899, &["6 CT", "12 CT"], Any),
    shelf("HOUSEHOLD", "CLEANING", "DISH SOAP", 299, &["16 OZ", "28 OZ"], Any),
    shelf("HEALTH & BEAUTY", "SHOWER", "SHAMPOO", 549, &["12 OZ", "24 OZ"], Any),
    shelf("HEALTH & BEAUTY", "DENTAL", "TOOTHPASTE", 379, &["4 OZ", "6 OZ"], Any),
    shelf("FLOWERS", "BOUQUETS", "MIXED BOUQUET", 1299, LOOSE, Evening),
    shelf(FUEL, "FUEL", "UNLEADED", 309, LOOSE, Any),
];

/// Makers of each shelf; the first one is the retailer itself.
const MAKERS: usize = 5;

/// The whole range, in the order of `product_id`. Every seed gives the same shelves but other prices.
pub fn range(rng: &mut Rng) -> Vec<Article> {
    let mut articles = Vec::new();
    for (row, shelf) in SHELVES.iter().enumerate() {
        let makers = if shelf.department == FUEL { 1 } else { MAKERS };
        for maker in 0..makers {
            let sizes = shelf.sizes.len().max(1);
            for size in 0..sizes {
                // A bigger pack costs more in all and less for each ounce; the private brand costs a fifth less.
                let percent = (100 + 70 * size as i64) * if maker == 0 { 80 } else { rng.between(95, 125) } / 100;
                let number = (row * MAKERS + maker) * 4 + size;
                articles.push(Article {
                    product_id: 40_010_000 + number as i32 * 7,
                    manufacturer_id: if maker == 0 { 9001 } else { 9002 + ((row * 3 + maker) % 97) as i32 },
                    department: shelf.department,
                    private: maker == 0,
                    category: shelf.category,
                    kind: shelf.kind,
                    size: shelf.sizes.get(size).copied(),
                    cents: (shelf.cents * percent / 100).max(5) / 10 * 10 + 9,
                    daypart: shelf.daypart,
                    fuel: shelf.department == FUEL,
                });
            }
        }
    }
    articles
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_article_has_its_own_id_and_a_price() {
        let range = range(&mut Rng::new(3));
        let ids: HashSet<i32> = range.iter().map(|a| a.product_id).collect();
        assert_eq!(ids.len(), range.len());
        assert!(range.len() > 400, "{}", range.len());
        assert!(range.windows(2).all(|pair| pair[0].product_id < pair[1].product_id));
        assert!(range.iter().all(|a| (9..10_000).contains(&a.cents)));
        assert_eq!(range.iter().filter(|a| a.fuel).count(), 1);
    }
}
