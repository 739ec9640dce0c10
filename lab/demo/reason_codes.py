"""What the demo model's decisions are explained with, as a fraud team would write it."""

REASON_CODES = [
    {"field": "amount", "direction": "raises", "code": "R01", "sentence": "the amount, for such a payment"},
    {
        "field": "account_age_days",
        "direction": "raises",
        "below": 90,
        "code": "R02",
        "sentence": "the account is less than 90 days old",
    },
    {
        "field": "orders_before",
        "direction": "raises",
        "below": 5,
        "code": "R03",
        "sentence": "fewer than five orders before this one",
    },
    {
        "field": "attempts_last_hour",
        "direction": "raises",
        "at_least": 2,
        "code": "R07",
        "sentence": "more attempts within the hour than usual",
    },
    {
        "field": "ip_distance_km",
        "direction": "raises",
        "at_least": 100,
        "code": "R08",
        "sentence": "the device is far from the billing address",
    },
    {"field": "ip_country", "direction": "raises", "code": "R09", "sentence": "the country of the device"},
    {"field": "merchant_category", "direction": "raises", "code": "R10", "sentence": "a category with much fraud"},
    {"field": "payment_method", "direction": "raises", "code": "R11", "sentence": "a payment method with much fraud"},
    {"field": "hour", "direction": "raises", "code": "R12", "sentence": "an hour with few ordinary payments"},
]
