"""Opens the page of `cargo xtask compare` in headless Chromium: no request, no error, no overflow; themes, sorting, keys, and print.

    compare_browser.py PAGE [FOLDER]

With a folder, pictures of the page go there, light and dark, wide and narrow.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from report_browser import Look, brightness, check, chromium, schemes, tab_to, widths

# What must be readable in either theme.
WORDS = [".lead", ".note", ".headline .main dd", ".warning", ".chip", ".chip.quiet", ".kicker", ".bar a", ".sortable th button"]


def column(page, name):
    """The cells below a head, as they stand."""
    script = """(name) => {
        const table = document.querySelector('table.sortable');
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === name);
        return [...table.tBodies[0].rows].map((row) => row.cells[at].textContent.trim());
    }"""
    return page.evaluate(script, name)


def number(text):
    return float(text.replace("−", "-"))


def sorted_by_keyboard_and_mouse(browser, url):
    with Look(browser, url) as page:
        dice = lambda: [number(text) for text in column(page, "Dice")]
        best_first = sorted(dice(), reverse=True)
        check(len(best_first) == 12 and dice() == best_first, f"best first: {dice()}")
        sort = lambda: page.evaluate("[...document.querySelectorAll('.sortable th')].map((th) => th.getAttribute('aria-sort')).filter(Boolean)")
        check(sort() == [], "no column is said to be sorted by before one is")

        page.get_by_role("button", name="Dice", exact=True).click()
        check(dice() == best_first[::-1] and sort() == ["ascending"], "a click sorts, least first")
        page.get_by_role("button", name="Dice", exact=True).click()
        check(dice() == best_first and sort() == ["descending"], "another one the other way round")

        tab_to(page, "th[title='train.jitter'] button")
        page.keyboard.press("Enter")
        jitter = column(page, "jitter")
        check(jitter == sorted(jitter, key=number) and len(set(jitter)) == 2, f"numbers are sorted as numbers: {jitter}")
        page.get_by_role("button", name="less first").click()
        differences = column(page, "less first")
        check(differences[-1] == "" and number(differences[0]) <= number(differences[-2]), "what has no value is last")
        page.get_by_role("button", name="less first").click()
        check(column(page, "less first")[-1] == "", "either way")
        page.get_by_role("button", name="#", exact=True).click()
        check(dice() == best_first, "the first column brings the ranking back")


def without_script(browser, url):
    with Look(browser, url, script=False) as page:
        dice = [number(text) for text in column(page, "Dice")]
        check(dice == sorted(dice, reverse=True), "best first")
        check(page.locator(".sortable button").count() == 0, "no button shows that would not work")
        check(not page.locator("#theme").is_visible() and not page.locator(".hint").is_visible(), "nor a hint at one")
        check(page.locator("figure.chart").count() == 2, "both charts show")


def printed(browser, url):
    with Look(browser, url, scheme="dark") as page:
        pdf = page.pdf(format="A4", print_background=True)
        check(pdf.startswith(b"%PDF-") and len(pdf) > 20_000, "it prints")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        check(page.locator("details:not([open])").count() == 0, "what is folded away is printed")
        check(not page.locator(".bar").is_visible(), "the bar is not")
        check(brightness(page) > 180, "it is printed light")


def pictures(browser, url, folder):
    for scheme in ["light", "dark"]:
        for width in [1280, 390]:
            with Look(browser, url, width=width, scheme=scheme) as page:
                page.screenshot(path=folder / f"{scheme}-{width}.png", full_page=True)


def main():
    url = Path(sys.argv[1]).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for folder in sys.argv[2:]:
            pictures(browser, url, Path(folder))
        schemes(browser, url, WORDS)
        for look in [widths, sorted_by_keyboard_and_mouse, without_script, printed]:
            look(browser, url)
            print(look.__name__)
        browser.close()
    print("fine")


if __name__ == "__main__":
    main()
