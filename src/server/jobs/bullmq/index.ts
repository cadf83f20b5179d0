/** All that knows BullMQ, to be imported where there is a Redis: it takes a while to load. */
export { BullMqProcessor } from './bullmq-processor.js';
export { BullMqQueue } from './bullmq-queue.js';
export { RedisLink } from './redis-link.js';
