/** The little of Cloudflare's types that the example needs; `wrangler types` makes all of them. */
declare module 'cloudflare:workers' {
  export class DurableObject {
    protected readonly ctx: {
      storage: {
        sql: {
          exec(
            sql: string,
            ...values: (string | number)[]
          ): { toArray(): object[]; one(): Record<string, unknown> };
        };
      };
    };
  }
}
