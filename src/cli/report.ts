/** Rows of a name and a value, for people. */
export function alignRows(rows: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}

/** Columns of text, the first to the left and the others to the right. */
export function alignTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])))
        .join('  '),
    )
    .join('\n');
}

/** 1234567 → 1,234,567. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

export function counts(values: readonly number[]): string {
  return values.map(count).join(' · ');
}

/** One JSON object for machines, or text for people. */
export function printReport(asJson: boolean, report: object, text: string): void {
  console.log(asJson ? JSON.stringify(report) : text);
}
