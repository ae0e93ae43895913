import { api, type PresetMaker } from './preset.ts';

/** Monitoring, mail, payment. */
export const SERVICES: Readonly<Record<string, PresetMaker>> = {
  datadog: () => ({
    title: 'Datadog',
    summary: 'sending metrics and logs; reading metrics and monitors',
    note: 'For another site than US1 replace datadoghq.com.',
    credentials: {
      datadog: { variable: 'DD_API_KEY', shape: '{32}' },
      'datadog-app': { variable: 'DD_APP_KEY', shape: '{40}' },
    },
    rules: [
      {
        name: 'datadog-send',
        hosts: ['api.datadoghq.com', 'http-intake.logs.datadoghq.com'],
        methods: ['POST'],
        paths: ['/api/v1/series', '/api/v2/series', '/api/v2/logs'],
        inject: [{ credential: 'datadog', as: 'header', name: 'DD-API-KEY' }],
      },
      {
        name: 'datadog-read',
        hosts: ['api.datadoghq.com'],
        methods: ['GET'],
        paths: ['/api/v1/validate', '/api/v1/query', '/api/v1/monitor', '/api/v1/monitor/*'],
        inject: [
          { credential: 'datadog', as: 'header', name: 'DD-API-KEY' },
          { credential: 'datadog-app', as: 'header', name: 'DD-APPLICATION-KEY' },
        ],
      },
    ],
    allows: {
      'datadog-send': [
        'POST https://api.datadoghq.com/api/v2/series',
        'POST https://http-intake.logs.datadoghq.com/api/v2/logs',
      ],
      'datadog-read': ['GET https://api.datadoghq.com/api/v1/query'],
    },
    denies: [
      'POST https://api.datadoghq.com/api/v1/dashboard/public',
      'POST https://api.datadoghq.com/api/v1/integration/webhooks/configuration/webhooks',
      'GET https://api.datadoghq.com/api/v2/api_keys',
    ],
  }),
  sentry: () => ({
    title: 'Sentry',
    summary: 'issues of one organization; releases',
    note: 'Replace ORGANIZATION. A host of a region, such as us.sentry.io, is another one: write it instead of sentry.io.',
    credentials: { sentry: { variable: 'SENTRY_AUTH_TOKEN', shape: 'sntryu_{64}' } },
    rules: [
      {
        name: 'sentry-read',
        hosts: ['sentry.io'],
        methods: ['GET'],
        paths: [
          '/api/0/organizations/ORGANIZATION/',
          '/api/0/organizations/ORGANIZATION/issues/**',
          '/api/0/organizations/ORGANIZATION/projects/',
          '/api/0/organizations/ORGANIZATION/releases/**',
        ],
        inject: [{ credential: 'sentry', as: 'bearer' }],
      },
      {
        name: 'sentry-release',
        hosts: ['sentry.io'],
        methods: ['POST', 'PUT'],
        paths: ['/api/0/organizations/ORGANIZATION/releases/**'],
        inject: [{ credential: 'sentry', as: 'bearer' }],
      },
    ],
    allows: {
      'sentry-read': ['GET https://sentry.io/api/0/organizations/ORGANIZATION/issues/'],
      'sentry-release': ['POST https://sentry.io/api/0/organizations/ORGANIZATION/releases/'],
    },
    denies: [
      'POST https://sentry.io/api/0/organizations/ORGANIZATION/sentry-apps/',
      'PUT https://sentry.io/api/0/organizations/ORGANIZATION/issues/',
      'GET https://sentry.io/api/0/organizations/OTHER/issues/',
    ],
  }),
  pagerduty: () => ({
    title: 'PagerDuty',
    summary: 'incidents: reading, noting, acknowledging',
    credentials: { pagerduty: { variable: 'PAGERDUTY_API_KEY', shape: '{20}' } },
    rules: [
      {
        name: 'pagerduty-read',
        hosts: ['api.pagerduty.com'],
        methods: ['GET'],
        paths: ['/incidents/**', '/services', '/services/*', '/oncalls'],
        inject: PAGERDUTY,
      },
      {
        name: 'pagerduty-incident',
        hosts: ['api.pagerduty.com'],
        methods: ['POST', 'PUT'],
        paths: ['/incidents', '/incidents/*', '/incidents/*/notes'],
        inject: PAGERDUTY,
      },
    ],
    allows: {
      'pagerduty-read': ['GET https://api.pagerduty.com/incidents'],
      'pagerduty-incident': ['POST https://api.pagerduty.com/incidents/Q1/notes'],
    },
    denies: [
      'POST https://api.pagerduty.com/users',
      'POST https://api.pagerduty.com/webhook_subscriptions',
      'POST https://api.pagerduty.com/incidents/Q1/status_updates',
    ],
  }),
  ...api('stripe', {
    title: 'Stripe',
    summary: 'customers, payments, invoices and prices, read only',
    note: 'Use a restricted key that may read only. Writing moves money.',
    variable: 'STRIPE_API_KEY',
    shape: 'rk_live_{99}',
    host: 'api.stripe.com',
    methods: ['GET'],
    paths: [
      '/v1/balance',
      '/v1/customers/**',
      '/v1/payment_intents/**',
      '/v1/charges/**',
      '/v1/invoices/**',
      '/v1/products/**',
      '/v1/prices/**',
    ],
    allows: ['GET /v1/customers', 'GET /v1/payment_intents/pi_1'],
    denies: ['POST /v1/refunds', 'POST /v1/payouts', 'POST /v1/file_links', 'POST /v1/webhook_endpoints'],
  }),
  ...api('twilio', {
    title: 'Twilio',
    summary: 'sending messages, reading them',
    note: 'A message goes to any number: a way out by itself, and it costs. The client puts the account’s SID before the token.',
    variable: 'TWILIO_AUTH_TOKEN',
    shape: '{32}',
    host: 'api.twilio.com',
    paths: ['/2010-04-01/Accounts/*/Messages.json', '/2010-04-01/Accounts/*/Messages/*.json'],
    as: [{ as: 'basic' }],
    allows: ['POST /2010-04-01/Accounts/AC1/Messages.json', 'GET /2010-04-01/Accounts/AC1/Messages/SM1.json'],
    denies: [
      'POST /2010-04-01/Accounts.json',
      'POST /2010-04-01/Accounts/AC1/Calls.json',
      'POST /2010-04-01/Accounts/AC1/Keys.json',
      'DELETE /2010-04-01/Accounts/AC1/Messages/SM1.json',
    ],
  }),
  ...api('sendgrid', {
    title: 'SendGrid',
    summary: 'sending mail',
    note: 'Mail goes to any address: a way out by itself.',
    variable: 'SENDGRID_API_KEY',
    shape: 'SG.{22}.{43}',
    host: 'api.sendgrid.com',
    methods: ['POST'],
    paths: ['/v3/mail/send'],
    allows: ['POST /v3/mail/send'],
    denies: ['POST /v3/api_keys', 'POST /v3/user/webhooks/event/settings', 'GET /v3/mail/send'],
  }),
};

const PAGERDUTY = [{ credential: 'pagerduty', as: 'header', name: 'authorization', prefix: 'Token token=' }];
