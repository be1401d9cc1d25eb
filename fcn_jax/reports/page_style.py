"""How the page of a comparison looks: on paper, phone and desktop, light and dark."""

# Colours of runs as `figures` draws them, and what they are on a dark page: as far from it.
RUN_COLORS = {
    "#0072b2": "#5aa9e6",
    "#d55e00": "#ff8a47",
    "#009e73": "#2fc79a",
    "#cc79a7": "#e7a3c9",
    "#e69f00": "#f2bb3d",
    "#56b4e9": "#a5dcff",
    "#000000": "#f4f4f4",
}

# What figures say in these colours is said in those of the page.
FIGURE_COLORS = {
    **{color: f"var(--run-{index})" for index, color in enumerate(RUN_COLORS)},
    "#333333": "var(--ink)",
    "#444444": "var(--soft)",
    "#888888": "var(--line)",
    "#e4e4e4": "var(--grid)",
    "#1a66aa": "var(--heat)",
    "#fefefe": "#ffffff",
}


def _variables(colors: list[str]) -> str:
    return "".join(f"--run-{index}:{color};" for index, color in enumerate(colors))


STYLE = f"""
:root{{color-scheme:light dark;--paper:#ffffff;--card:#f5f6f8;--ink:#1b1e22;--soft:#50565e;
--line:#8a9099;--grid:#e2e5e9;--heat:#1a66aa;--link:#0b57a4;--warn:#fff3d6;--warn-ink:#5c3d00;
{_variables(list(RUN_COLORS))}}}
@media (prefers-color-scheme:dark){{:root{{--paper:#14171b;--card:#1e2329;--ink:#e9ecef;
--soft:#b3bac3;--line:#7b838d;--grid:#333a43;--heat:#2f7fcb;--link:#8cc2ff;--warn:#40320d;
--warn-ink:#ffe3a3;{_variables(list(RUN_COLORS.values()))}}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);overflow-wrap:anywhere;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
main,header,footer{{max-width:76rem;margin:0 auto;padding:0 1rem}}
h1{{font-size:clamp(1.4rem,4.5vw,2.1rem);line-height:1.2;margin:1.6rem 0 .4rem}}
h2{{font-size:1.3rem;margin:2.6rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--grid)}}
h3{{font-size:1rem;margin:1.4rem 0 .4rem}}
p{{margin:.5rem 0;max-width:48rem}}
a{{color:var(--link)}}
nav ul{{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.8rem 0}}
.soft,figcaption,caption{{color:var(--soft);font-size:.875rem}}
.warn{{background:var(--warn);color:var(--warn-ink);padding:.6rem .9rem;border-radius:.5rem}}
.cards{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.8rem;
margin:1rem 0;padding:0;list-style:none}}
.cards li{{background:var(--card);border-radius:.6rem;padding:.8rem 1rem;
border-left:.4rem solid var(--of)}}
.big{{font-size:1.8rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}}
.big small{{font-size:1rem;font-weight:400;color:var(--soft);white-space:nowrap}}
.grid{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,27rem),1fr));
gap:1.2rem 2rem;align-items:start}}
figure{{margin:0}}
svg{{display:block;width:100%;height:auto;max-width:calc(var(--natural)*1.5)}}
svg text{{fill:currentColor}}
.legend{{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.5rem 0;
font-size:.875rem}}
.legend li{{display:flex;align-items:center;gap:.4rem}}
.swatch{{flex:none;width:1em;height:1em;border-radius:.2em;border:1px solid var(--line);
background:var(--of);forced-color-adjust:none;print-color-adjust:exact}}
.wide{{overflow-x:auto;margin:.8rem 0;max-width:100%}}
.wide svg{{min-width:calc(var(--natural)*.95)}}
.wide:focus-visible{{outline:2px solid var(--link)}}
table{{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}}
caption{{text-align:left;padding-bottom:.3rem;position:sticky;left:0;
width:min(100%,100vw - 2rem)}}
th,td{{padding:.3rem .7rem;border-bottom:1px solid var(--grid);text-align:right;
vertical-align:top;white-space:nowrap}}
thead th{{color:var(--soft);font-weight:600;border-bottom-color:var(--line)}}
th.text,td.text{{text-align:left;white-space:normal;overflow-wrap:break-word}}
td.text{{min-width:7rem}}
tbody th{{position:sticky;left:0;background:var(--paper);font-weight:600;max-width:45vw;
padding-left:0}}
th:first-child{{padding-left:0}}
.scene{{margin:1.2rem 0 1.8rem}}
.panels{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));
gap:.6rem 1.2rem}}
.pair{{display:grid;grid-template-columns:1fr 1fr;gap:.5rem}}
.panels img{{display:block;width:100%;height:auto;border-radius:.25rem;background:var(--card)}}
.panels figcaption{{line-height:1.3;padding-top:.2rem}}
.sharp{{image-rendering:pixelated}}
details{{margin:.6rem 0}}
summary{{cursor:pointer}}
pre{{overflow-x:auto;background:var(--card);padding:.7rem;border-radius:.5rem;font-size:.8rem}}
footer{{margin-top:3rem;padding-bottom:2rem;color:var(--soft);font-size:.875rem}}
@media print{{.wide{{overflow:visible}}}}
"""
