"""All pages of the console."""

from console.overview import page as overview
from console.sign_in import page as sign_in

ROUTES = (
    *sign_in.ROUTES,
    *overview.ROUTES,
)
