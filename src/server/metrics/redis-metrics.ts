import { Gauge, type Registry } from 'prom-client';

/** Whether Redis answers. A server without Redis does not export it. */
export function registerRedisMetrics(registry: Registry, isRedisThere: () => boolean): void {
  new Gauge({
    name: 'espalier_redis_up',
    help: '1 while Redis answers; 0 while it does not, and uploads are refused. Only with redisUrl.',
    registers: [registry],
    collect() {
      this.set(isRedisThere() ? 1 : 0);
    },
  });
}
