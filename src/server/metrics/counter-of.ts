import { Counter, type Registry } from 'prom-client';

/** A counter whose series are there from the start: what rises from nothing raises no alarm. */
export function counterOf<Label extends string, Value extends string>(
  registry: Registry,
  label: Label,
  values: readonly Value[],
  about: { name: string; help: string },
): Counter<Label> {
  const counter = new Counter({ ...about, labelNames: [label], registers: [registry] });
  for (const value of values) counter.labels(value).inc(0);
  return counter;
}
