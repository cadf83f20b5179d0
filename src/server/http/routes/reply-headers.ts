/**
 * What a handler does to its reply where it returns the body instead of sending it: a returned one is checked against
 * the schema by its type.
 */
export interface ReplyHeaders {
  header(name: string, value: string): unknown;
}
