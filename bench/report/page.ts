import type { Chart } from './charts.js';
import { judgeGoals } from './goals.js';
import { headlines } from './headlines.js';
import { axesOf, casesOf, type Results, verdictOf } from './input.js';
import { capital } from './markdown.js';
import { axisTitle, suiteOrder, suiteTitle } from './names.js';
import { summarize } from './summary.js';
import { style, writeSvg } from './svg/drawing.js';
import { escaped } from './svg/text.js';
import { takeaway } from './verdicts.js';
import { circumstances, goalContext, noiseWords, paperWords, servingWords } from './words.js';

const pageStyle = `
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1f2328; --faint: #59636e; --line: #d9dde2; --card: #f6f8fa; --bad: #b3261e; --good: #00694b; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --ink: #e6edf3; --faint: #9aa4af; --line: #2b3138; --card: #151b23; --bad: #ff8f87; --good: #4fd1a5; }
}
body { margin: 0 auto; max-width: 900px; padding: 24px 20px 80px; background: var(--ground); color: var(--ink);
  font: 16px/1.5 Helvetica, Arial, 'Liberation Sans', sans-serif; }
h1 { margin: 0 0 4px; } h2 { margin: 48px 0 8px; border-top: 1px solid var(--line); padding-top: 16px; }
p { margin: 8px 0; } .faint { color: var(--faint); font-size: 14px; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; margin: 24px 0; }
.numbers div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px; }
.numbers strong { display: block; font-size: 34px; line-height: 1.2; } .numbers span { font-size: 14px; }
figure { margin: 24px 0; } figcaption { margin-bottom: 6px; } figure svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; font-size: 14px; width: 100%; } td, th { text-align: left; padding: 5px 8px; border-bottom: 1px solid var(--line); vertical-align: top; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; } .wide { overflow-x: auto; }
`.trim();

/** `docs/benchmarks.html`: one file, no script, nothing from elsewhere. */
export function htmlPage(results: Results, charts: ReadonlyMap<string, Chart[]>): string {
  const order = [...suiteOrder, ...[...results.suites.keys()].filter((suite) => !suiteOrder.includes(suite))];
  const numbers = headlines(results);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Espalier: benchmarks</title>
<style>
${pageStyle}
${style}
</style>
</head>
<body>
<h1>Espalier: benchmarks</h1>
${numbers.length === 0 ? '' : `<div class="numbers">\n${numbers.map(({ number, words }) => `<div><strong>${escaped(number)}</strong><span>${escaped(words)}</span></div>`).join('\n')}\n</div>`}
<ul>
${summarize(results)
  .map((sentence) => `<li>${inline(sentence)}</li>`)
  .join('\n')}
</ul>
${circumstances(results).map(paragraph('faint')).join('\n')}
<p class="faint">Rest the pointer on a mark for its numbers. Blue is ours, grey has no constraint; of times and bytes, less is better.</p>
${order.map((suite) => section(results, suite, charts.get(suite) ?? [])).join('\n')}
<h2>Goals</h2>
${paragraph('')(goalContext(results))}
<div class="wide">${goals(results)}</div>
<h2>The paper</h2>
${paragraph('')(paperWords)}
${paragraph('')(servingWords)}
<h2>How quiet the machine was</h2>
${noiseWords(results).map(paragraph('faint')).join('\n')}
</body>
</html>
`;
}

function section({ suites }: Results, suite: string, charts: readonly Chart[]): string {
  const report = suites.get(suite);
  const heading = `<h2>${escaped(suiteTitle(suite))}</h2>`;
  if (report === undefined) return `${heading}\n<p class="faint">Not measured yet.</p>`;
  const figures = axesOf(report).flatMap((axis) =>
    charts
      .filter((chart) => chart.axis === axis)
      .map(({ drawing, omitted }, index) => {
        const verdicts = casesOf(report, axis).flatMap(verdictOf);
        const words = index === 0 ? [takeaway(report, axis) ?? '', ...verdicts].join(' ').trim() : '';
        const caption = [
          words === '' ? '' : `<strong>${escaped(capital(axisTitle(axis)))}.</strong> ${inline(words)}`,
          omitted.length > 0 ? `Not drawn, being 0 or less: ${escaped(omitted.join('; '))}.` : '',
        ];
        return `<figure><figcaption>${caption.join(' ').trim()}</figcaption>\n${writeSvg(drawing, false)}\n</figure>`;
      }),
  );
  return [heading, ...figures].join('\n');
}

function goals(results: Results): string {
  const rows = judgeGoals(results).map(({ goal, reading, state }) => {
    const cells = [goal.what, goal.elsewhere, goal.goal, reading?.words ?? '–'].map(
      (text) => `<td>${escaped(text)}</td>`,
    );
    return `<tr>${cells.join('')}<td class="${state.replaceAll(' ', '-')}">${state}</td></tr>`;
  });
  const header = ['', 'elsewhere, for context', 'goal', 'measured', ''].map((text) => `<th>${text}</th>`);
  return `<table><tr>${header.join('')}</tr>\n${rows.join('\n')}</table>`;
}

function paragraph(name: string): (text: string) => string {
  return (text) => `<p${name === '' ? '' : ` class="${name}"`}>${inline(text)}</p>`;
}

/** The Markdown that sentences have: bold, code and links. */
function inline(text: string): string {
  return escaped(text)
    .replaceAll(/\*\*(.+?)\*\*/g, '<strong>$1</strong>')
    .replaceAll(/`([^`]+)`/g, '<code>$1</code>')
    .replaceAll(/\[([^\]]+)\]\((https:[^)]+)\)/g, '<a href="$2">$1</a>');
}
