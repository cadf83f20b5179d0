import type { RetailItem } from '../../examples/online-retail/retail.js';

const HOUR_MS = 3_600_000;
/** The time that the bundled rules speak of. */
const AS_OF_MS = Date.parse('2011-12-10T00:00:00Z');

/** The bundled rules once more, in another language: what answers are checked against. */
export const facts: Readonly<Record<string, (item: RetailItem) => boolean>> = {
  germany: ({ countries }) => countries.includes('Germany'),
  'under-2-pounds': ({ price }) => price < 2,
  'new-arrivals': ({ firstSold }) => Date.parse(firstSold) > AS_OF_MS - 2160 * HOUR_MS,
  christmas: ({ title }) => title.includes('CHRISTMAS'),
  'in-stock': ({ lastSold }) => Date.parse(lastSold) > AS_OF_MS - 336 * HOUR_MS,
};
