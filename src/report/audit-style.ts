/** Light and dark by the reader's own setting; tables become lists where there is little room. */
export const auditStyle = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --panel: #f3f5f7; --line: #d0d7de; --good: #116329; --bad: #a40e26; --bar: #0969da; --link: #0550ae; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #0d1117; --panel: #161b22; --line: #30363d; --good: #56d364; --bad: #ff7b72; --bar: #388bfd; --link: #79b8ff; } }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main, header, footer { max-width: 72rem; margin: 0 auto; padding: 1rem clamp(1rem, 4vw, 2rem); }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
a { color: var(--link); }
code { font: .875em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); gap: .75rem; margin: 1rem 0; }
dl div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .9rem; min-width: 0; }
dl div.wide { grid-column: 1 / -1; }
dt { color: var(--soft); font-size: .875rem; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
dd code { font-weight: 400; }
.good { color: var(--good); }
.bad { color: var(--bad); }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { font-size: .875rem; color: var(--soft); white-space: nowrap; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.track { display: block; min-width: 8rem; height: 1rem; margin-top: .25rem; background: var(--panel); border-radius: .25rem; overflow: hidden; }
.bar { display: block; height: 100%; min-width: 3px; background: var(--bar); border-radius: .2rem; }
.bar.failed { background: var(--bad); }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; }
summary { padding: .6rem .9rem; cursor: pointer; font-weight: 600; }
details > :not(summary) { margin: 0 .3rem .5rem; }
details > p { padding: 0 .6rem; }
details table { width: calc(100% - .6rem); }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px; }
@media (max-width: 44rem) {
  table, tbody, tr, td { display: block; }
  details table { width: auto; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  td { border: 0; padding: .1rem .6rem; display: grid; grid-template-columns: 7rem minmax(0, 1fr); }
  td::before { content: attr(data-label); color: var(--soft); font-size: .875rem; }
}
@media print { details:not([open]) > * { display: revert; } }
`;
