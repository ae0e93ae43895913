import { api, type InjectRow, type PresetMaker } from './preset.ts';

/** Clouds: reading. What writes there mostly publishes, or makes credentials. */
export const CLOUDS: Readonly<Record<string, PresetMaker>> = {
  aws: () => ({
    title: 'AWS',
    summary: 'objects of one S3 bucket below a prefix, read only; who am I',
    note: 'Replace your-bucket, your-prefix and eu-west-1. Listing shows all names in the bucket. AWS_KEYS holds {"AccessKeyId":"…","SecretAccessKey":"…"}; their IAM policy is the limit that counts.',
    credentials: { aws: { from: 'env:AWS_KEYS', variable: 'AWS_ACCESS_KEY_ID', shape: 'aws' } },
    rules: [
      {
        name: 'aws-s3',
        hosts: ['your-bucket.s3.eu-west-1.amazonaws.com'],
        methods: ['GET', 'HEAD'],
        paths: ['/', '/your-prefix/**'],
        allow_range: true,
        inject: [{ credential: 'aws', as: 'aws-sigv4', regions: ['eu-west-1'], services: ['s3'] }],
      },
      {
        name: 'aws-sts',
        hosts: ['sts.eu-west-1.amazonaws.com'],
        methods: ['POST'],
        paths: ['/'],
        inject: [{ credential: 'aws', as: 'aws-sigv4', regions: ['eu-west-1'], services: ['sts'] }],
      },
    ],
    allows: {
      'aws-s3': ['GET https://your-bucket.s3.eu-west-1.amazonaws.com/your-prefix/key'],
      'aws-sts': ['POST https://sts.eu-west-1.amazonaws.com/'],
    },
    denies: [
      'PUT https://your-bucket.s3.eu-west-1.amazonaws.com/your-prefix/key',
      'GET https://your-bucket.s3.eu-west-1.amazonaws.com/other/key',
      'GET https://other.s3.eu-west-1.amazonaws.com/your-prefix/key',
      'POST https://iam.amazonaws.com/',
    ],
  }),
  azure: () => ({
    title: 'Azure',
    summary: 'one resource group, read only, with a token minted from a client secret',
    note: 'Replace TENANT, CLIENT_ID, SUBSCRIPTION and GROUP. The stub is an access token, for REST and for SDKs that are given one; give the application the role Reader.',
    credentials: {
      azure: {
        from: 'env:AZURE_CLIENT_SECRET',
        variable: 'AZURE_ACCESS_TOKEN',
        shape: '{160}',
        mint: {
          type: 'oauth2',
          grant: 'client_credentials',
          token_url: 'https://login.microsoftonline.com/TENANT/oauth2/v2.0/token',
          client_id: 'CLIENT_ID',
          client_auth: 'post',
          scope: 'https://management.azure.com/.default',
        },
      },
    },
    rules: [
      {
        name: 'azure',
        hosts: ['management.azure.com'],
        methods: ['GET'],
        paths: ['/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/**'],
        inject: [{ credential: 'azure', as: 'bearer' }],
      },
    ],
    allows: {
      azure: ['GET https://management.azure.com/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/x'],
    },
    denies: [
      'PUT https://management.azure.com/subscriptions/SUBSCRIPTION/resourceGroups/GROUP',
      'POST https://management.azure.com/subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/x/listKeys',
      'GET https://management.azure.com/subscriptions/OTHER/resourceGroups/GROUP',
      'POST https://login.microsoftonline.com/TENANT/oauth2/v2.0/token',
    ],
  }),
  gcp: () => ({
    title: 'Google Cloud',
    summary: 'one storage bucket, read only, with a token minted from a service account’s key',
    note: 'Replace BUCKET and the address of the service account; GCP_KEY holds its key file. gcloud and Terraform take the stub as an access token.',
    credentials: {
      gcp: {
        from: 'env:GCP_KEY#private_key',
        variable: 'CLOUDSDK_AUTH_ACCESS_TOKEN',
        shape: 'ya29.{160}',
        mint: {
          type: 'oauth2',
          grant: 'jwt-bearer',
          token_url: 'https://oauth2.googleapis.com/token',
          client_id: 'robot@PROJECT.iam.gserviceaccount.com',
          scope: 'https://www.googleapis.com/auth/devstorage.read_only',
        },
      },
    },
    rules: [
      {
        name: 'gcp-storage',
        hosts: ['storage.googleapis.com'],
        methods: ['GET'],
        paths: [
          '/storage/v1/b/BUCKET',
          '/storage/v1/b/BUCKET/o',
          '/storage/v1/b/BUCKET/o/*',
          '/download/storage/v1/b/BUCKET/o/*',
        ],
        allow_range: true,
        inject: [{ credential: 'gcp', as: 'bearer' }],
      },
    ],
    allows: { 'gcp-storage': ['GET https://storage.googleapis.com/storage/v1/b/BUCKET/o/a%2Fb'] },
    denies: [
      'POST https://storage.googleapis.com/upload/storage/v1/b/BUCKET/o',
      'GET https://storage.googleapis.com/storage/v1/b/OTHER/o',
      'PATCH https://storage.googleapis.com/storage/v1/b/BUCKET',
      'POST https://oauth2.googleapis.com/token',
    ],
  }),
  cloudflare: () => ({
    title: 'Cloudflare',
    summary: 'zones and DNS records, read only; purging the cache',
    note: 'Replace ZONE. Records, Workers and Pages are left out: whoever writes them publishes.',
    credentials: { cloudflare: { variable: 'CLOUDFLARE_API_TOKEN', shape: '{40}' } },
    rules: [
      {
        name: 'cloudflare-read',
        hosts: ['api.cloudflare.com'],
        methods: ['GET'],
        paths: [
          '/client/v4/user/tokens/verify',
          '/client/v4/zones',
          '/client/v4/zones/ZONE',
          '/client/v4/zones/ZONE/dns_records/**',
        ],
        inject: CLOUDFLARE,
      },
      {
        name: 'cloudflare-purge',
        hosts: ['api.cloudflare.com'],
        methods: ['POST'],
        paths: ['/client/v4/zones/ZONE/purge_cache'],
        inject: CLOUDFLARE,
      },
    ],
    allows: {
      'cloudflare-read': ['GET https://api.cloudflare.com/client/v4/zones/ZONE/dns_records'],
      'cloudflare-purge': ['POST https://api.cloudflare.com/client/v4/zones/ZONE/purge_cache'],
    },
    denies: [
      'POST https://api.cloudflare.com/client/v4/zones/ZONE/dns_records',
      'PUT https://api.cloudflare.com/client/v4/accounts/A/workers/scripts/x',
      'POST https://api.cloudflare.com/client/v4/user/tokens',
    ],
  }),
  ...api('vercel', {
    title: 'Vercel',
    summary: 'projects and deployments, read only',
    note: 'Deploying is left out: it publishes. Environment variables are left out: they are secrets.',
    variable: 'VERCEL_TOKEN',
    shape: '{24}',
    host: 'api.vercel.com',
    methods: ['GET'],
    paths: ['/v2/user', '/v9/projects', '/v9/projects/*', '/v6/deployments', '/v13/deployments/*'],
    allows: ['GET /v9/projects', 'GET /v13/deployments/dpl_1'],
    denies: ['POST /v13/deployments', 'POST /v2/files', 'GET /v9/projects/app/env'],
  }),
  ...api('netlify', {
    title: 'Netlify',
    summary: 'sites and deploys, read only',
    note: 'Deploying is left out: it publishes.',
    variable: 'NETLIFY_AUTH_TOKEN',
    shape: 'nfp_{36}',
    host: 'api.netlify.com',
    methods: ['GET'],
    paths: [
      '/api/v1/user',
      '/api/v1/sites',
      '/api/v1/sites/*',
      '/api/v1/sites/*/deploys',
      '/api/v1/deploys/*',
    ],
    allows: ['GET /api/v1/sites', 'GET /api/v1/deploys/1'],
    denies: [
      'POST /api/v1/sites/1/deploys',
      'PUT /api/v1/deploys/1/files/index.html',
      'GET /api/v1/accounts/acme/env',
    ],
  }),
  ...api('digitalocean', {
    title: 'DigitalOcean',
    summary: 'droplets and domains, read only',
    note: 'Use a token with the scopes of reading only; kubeconfigs are left out: they are secrets.',
    variable: 'DIGITALOCEAN_ACCESS_TOKEN',
    shape: 'dop_v1_{64}',
    host: 'api.digitalocean.com',
    methods: ['GET'],
    paths: ['/v2/account', '/v2/droplets/**', '/v2/domains/**', '/v2/regions'],
    allows: ['GET /v2/account', 'GET /v2/droplets/1'],
    denies: ['POST /v2/droplets', 'POST /v2/domains/x/records', 'GET /v2/kubernetes/clusters/1/kubeconfig'],
  }),
};

const CLOUDFLARE: readonly InjectRow[] = [{ credential: 'cloudflare', as: 'bearer' }];
