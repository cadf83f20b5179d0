import { expect, it } from 'vitest';
import { checkLocal, isLoopback } from '../../../src/server/security/local-only.js';

it.each(['127.0.0.1', '127.8.9.10', '::1', 'localhost'])('takes %s for this machine', (host) => {
  expect(isLoopback(host)).toBe(true);
});

it.each(['0.0.0.0', '::', '10.0.0.1', '127.0.0.1.example.com', 'localhost.example.com', '', '127.example'])(
  'does not take %s for this machine',
  (host) => {
    expect(isLoopback(host)).toBe(false);
  },
);

it.each([
  [{ host: 'localhost:8080' }],
  [{ host: '127.0.0.1:8080' }],
  [{ host: '[::1]:8080' }],
  [{ host: 'LOCALHOST' }],
  [{ host: 'localhost:8080', origin: 'http://localhost:8080' }],
])('lets in %j', (headers) => {
  expect(() => checkLocal(headers, '127.0.0.1')).not.toThrow();
});

it.each([
  [{}],
  [{ host: '' }],
  [{ host: 'evil.example:8080' }],
  [{ host: '127.0.0.1.evil.example' }],
  [{ host: 'evil.example/@127.0.0.1' }],
  [{ host: 'evil.example@127.0.0.1' }],
  [{ host: '127.0.0.1/../x' }],
  [{ host: 'localhost:8080', origin: 'http://evil.example' }],
  [{ host: 'localhost:8080', origin: 'http://localhost:3000' }],
  [{ host: 'localhost:8080', origin: 'null' }],
])('refuses %j', (headers) => {
  expect(() => checkLocal(headers, '127.0.0.1')).toThrow(
    expect.objectContaining({ code: 'ESP_HOST_REFUSED' }),
  );
});
