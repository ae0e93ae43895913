import { defineConfig } from 'vitest/config';

// A developer's machine may export proxy and CA variables; no test may depend on them.
const inherited = Object.keys(process.env).filter(name =>
  /(_proxy|_ca_bundle|ssl_cert_file|ssl_cert_dir|extra_ca_certs|cainfo|pip_cert)$/i.test(name),
);
for (const name of inherited) delete process.env[name];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
