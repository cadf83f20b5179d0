/** Who may call what, for calls that do not pass through the HTTP application. */
export interface Guard {
  /**
   * @param method e.g. `espalier.v1.RecommendationService/Recommend`
   * @throws EspalierError where the call is not allowed
   */
  check(headers: Headers, method: string): void | Promise<void>;
}

export const openGuard: Guard = { check() {} };
