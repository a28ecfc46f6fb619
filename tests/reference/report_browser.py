"""Opens a report in headless Chromium: no request, no error, no overflow; themes, filters, dialog, keys, and print.

    report_browser.py REPORT
"""

import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def chromium():
    named = os.environ.get("RESECT_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        sys.exit("there is no Chromium; Debian: apt-get install chromium")
    return found


def check(holds, what):
    if not holds:
        sys.exit(f"not so: {what}")


class Look:
    """A page of its own that notes what goes wrong on it."""

    def __init__(self, browser, url, width=1280, scheme="light", script=True):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
        )
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("console", lambda message: self.wrong.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        asked = lambda request: request.url == url or request.url.startswith("data:") or self.wrong.append(request.url)
        self.page.on("request", asked)
        self.page.goto(url)

    def __enter__(self):
        return self.page

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            check(not self.wrong, f"nothing goes wrong: {self.wrong}")


def brightness(page):
    picture = Image.open(io.BytesIO(page.screenshot())).convert("L")
    return sum(value * count for value, count in enumerate(picture.histogram())) / (picture.width * picture.height)


def contrast(page, selector):
    """Of an element's text and the page behind it, as WCAG has it."""
    script = """([selector]) => {
        const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
        const paint = (colour) => {
            canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        const element = document.querySelector(selector);
        // Backgrounds may be translucent: painted over each other, the page's first.
        const behind = [];
        for (let one = element; one; one = one.parentElement) behind.unshift(getComputedStyle(one).backgroundColor);
        const background = behind.map(paint).pop();
        return [paint(getComputedStyle(element).color), background];
    }"""

    def luminance(colour):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted(map(luminance, page.evaluate(script, [selector])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


# What must be readable in either theme.
WORDS = [".lead", ".note", ".headline .main dd", ".dice .tuned b", ".dice .untuned b", ".kicker", ".bar a"]


def schemes(browser, url, words=WORDS):
    seen = {}
    for scheme in ["light", "dark"]:
        with Look(browser, url, scheme=scheme) as page:
            seen[scheme] = brightness(page)
            for selector in words:
                found = contrast(page, selector)
                check(found >= 4.5, f"{selector} has a contrast of 4.5 in {scheme}: {found:.2f}")
    check(seen["light"] > 180 and seen["dark"] < 80, f"light and dark differ: {seen}")
    with Look(browser, url) as page:
        button = page.locator("#theme")
        for theme, dark in [("light", False), ("dark", True), ("auto", False)]:
            button.focus()
            page.keyboard.press("Enter")
            check(button.inner_text() == f"Theme: {theme}", f"the button says {theme}")
            check((brightness(page) < 80) == dark, f"it looks {theme}")


def widths(browser, url):
    for width in [360, 390, 768, 1280, 1920]:
        with Look(browser, url, width=width) as page:
            page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
            found = page.evaluate("document.documentElement.scrollWidth")
            check(found <= width, f"at {width} px nothing sticks out: {found}")
            drawings = page.evaluate("""[...document.querySelectorAll('figure.chart')].map((one) =>
                [...one.querySelectorAll('.drawing')].filter((svg) => svg.getBoundingClientRect().width > 0).length)""")
            check(drawings and set(drawings) == {1}, f"at {width} px each chart shows once: {drawings}")
            overlaps = page.evaluate("""[...document.querySelectorAll('.drawing')].flatMap((svg) => {
                const texts = [...svg.querySelectorAll('text')].filter((text) => text.getBoundingClientRect().width > 0);
                const boxes = texts.map((text) => [text.textContent.trim(), text.getBoundingClientRect()]);
                return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) =>
                    p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)
                    .map(([b]) => `${a} on ${b}`));
            })""")
            check(not overlaps, f"at {width} px no words of a chart overlap: {overlaps[:5]}")


def tab_to(page, selector):
    """Moves the focus as a keyboard does."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    sys.exit(f"not so: Tab leads to {selector}")


def by_keyboard(browser, url):
    with Look(browser, url) as page:
        visible = lambda: page.evaluate("[...document.querySelectorAll('.card')].filter((card) => !card.hidden).length")
        order = lambda: page.evaluate("[...document.querySelectorAll('.card')].filter((c) => !c.hidden).map((c) => +c.dataset.index)")
        drawn = lambda mask: page.evaluate(f"getComputedStyle(document.querySelector('.card .m-{mask}')).display !== 'none'")
        total = visible()
        check(total == 30 and order() == list(range(total)), "all cards show, worst first")

        tab_to(page, "#sort")
        page.keyboard.press("ArrowDown")
        check(order() == list(reversed(range(total))), "best first is the other way round")
        page.keyboard.press("ArrowUp")
        tab_to(page, "#size")
        page.keyboard.press("ArrowDown")
        small = visible()
        check(0 < small < total, f"the size filters: {small}")
        check(page.locator("#shown").inner_text() == f"{small} of {total} targets shown", "it says how many")
        page.keyboard.press("ArrowUp")
        tab_to(page, "#high")
        page.keyboard.press("Control+A")
        page.keyboard.type("0.5")
        few = visible()
        check(0 < few < small, f"the Dice filters: {few}")
        tab_to(page, "#reset")
        page.keyboard.press("Enter")
        check(visible() == total, "reset shows all")

        tab_to(page, ".card .open")
        for key, mask in [("t", "truth"), ("b", "box")]:
            page.keyboard.press(key)
            check(not drawn(mask), f"{key} hides {mask}")
            page.keyboard.press(key)
            check(drawn(mask), f"{key} shows {mask}")
        page.keyboard.press("Enter")
        title = lambda: page.locator("#large-title").inner_text()
        check(page.locator("#large").is_visible() and page.locator("#large-place").inner_text() == "1 of 30", "it is enlarged")
        first = title()
        page.keyboard.press("ArrowRight")
        check(title() != first, "right moves on")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        check(page.locator("#large-place").inner_text() == "30 of 30", "left of the first is the last")
        large = lambda mask: page.evaluate(f"getComputedStyle(document.querySelector('#large .picture .m-{mask}')).display !== 'none'")
        check(large("tuned"), "the tuned mask shows")
        page.keyboard.press("n")
        check(not large("tuned") and not page.locator("#dialog-tuned").is_checked(), "N hides it")
        tab_to(page, "#dialog-tuned")
        page.keyboard.press("Space")
        check(large("tuned") and page.locator("#grid-tuned").is_checked(), "the box shows it")
        for _ in range(30):
            page.keyboard.press("Tab")
            outside = "document.activeElement !== document.body && !document.activeElement.closest('#large')"
            check(not page.evaluate(outside), "the focus stays in the dialog")
        page.keyboard.press("Escape")
        check(not page.locator("#large").is_visible(), "Escape closes it")
        check(page.evaluate("document.activeElement.closest('.card')?.dataset.index") == "29", "the focus is back on its card")


def without_script(browser, url):
    with Look(browser, url, script=False) as page:
        check(page.locator(".card:visible").count() == 30, "every card shows")
        check(not page.locator("#tools").is_visible() and not page.locator("#theme").is_visible(), "nothing shows that would not work")


def printed(browser, url):
    with Look(browser, url, scheme="dark") as page:
        pdf = page.pdf(format="A4", print_background=True)
        check(pdf.startswith(b"%PDF-") and len(pdf) > 50_000, "it prints")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        cards = page.evaluate("[...document.querySelectorAll('.card')].filter((card) => card.offsetParent).length")
        check(cards == 12, f"the first twelve are printed: {cards}")
        closed = "[...document.querySelectorAll('details:not([open])')].filter((one) => !one.closest('.card')).length"
        check(page.evaluate(closed) == 0, "what is folded away is printed")
        check(not page.locator(".bar").is_visible(), "the bar is not")
        check(brightness(page) > 180, "it is printed light")


def main():
    url = Path(sys.argv[1]).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for look in [schemes, widths, by_keyboard, without_script, printed]:
            look(browser, url)
            print(look.__name__)
        browser.close()
    print("fine")


if __name__ == "__main__":
    main()
