/** The API for components: calls by the session, for the account that the page looks at. */
import {
  type QueryKey,
  type UseMutationResult,
  type UseQueryOptions,
  type UseQueryResult,
  useMutation,
  useQuery,
  useQueryClient,
} from '@tanstack/react-query';
import { useMemo } from 'react';

import { useAccount } from '../session/session.tsx';
import type { ApiError } from './error.ts';
import { type Method, type Query, type RequestOptions, request } from './request.ts';

export interface Api {
  /** The account that calls are made for; null when an operator looks at all of them. */
  account: string | null;
  get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T>;
  send<T>(method: Exclude<Method, 'GET'>, path: string, body?: object): Promise<T>;
}

/**
 * Calls that carry the account of the URL (`?account=`), for operators as `x-account`.
 *
 * @param of - for operators: another account than the one in view, as on the page about it
 * @example
 * const api = useApi();
 * await api.send('DELETE', `/v2/endpoint/${endpointId}`);
 */
export function useApi(of?: string): Api {
  const inView = useAccount();
  const account = of ?? inView.account;
  const actsFor = of ?? inView.actsFor;
  return useMemo(() => {
    const call = <T>(method: Method, path: string, options: RequestOptions) =>
      request<T>(method, path, { ...options, account: actsFor });
    return {
      account,
      get: (path, query, signal) =>
        call('GET', path, {
          ...(query === undefined ? {} : { query }),
          ...(signal === undefined ? {} : { signal }),
        }),
      send: (method, path, body) => call(method, path, body === undefined ? {} : { body }),
    };
  }, [account, actsFor]);
}

/** The key under which an answer is kept: what the account is, and what was asked. */
export function apiKeyOf(account: string | null, path: string, query: Query = {}): QueryKey {
  return ['api', account, path, query];
}

type ApiQueryOptions<T> = Omit<UseQueryOptions<T, ApiError>, 'queryKey' | 'queryFn'> & {
  query?: Query;
  /** For operators: another account than the one in view. */
  account?: string;
};

/**
 * A GET whose answer is kept and shared between components.
 *
 * @example
 * const endpoints = useApiQuery<{ endpoints: Endpoint[] }>('/v2/endpoints');
 */
export function useApiQuery<T>(path: string, options: ApiQueryOptions<T> = {}): UseQueryResult<T, ApiError> {
  const { query, account, ...rest } = options;
  const api = useApi(account);
  return useQuery<T, ApiError>({
    queryKey: apiKeyOf(api.account, path, query),
    queryFn: ({ signal }) => api.get<T>(path, query, signal),
    ...rest,
  });
}

/**
 * A change, after which everything of the account is read again: a change of one thing shows in many (a retried
 * delivery in lists, counts and its event).
 *
 * @param onDone - awaited before that, so that a page that it leaves doesn't look for what was deleted
 * @example
 * const remove = useApiMutation<void>((api) => api.send('DELETE', `/v2/endpoint/${id}`));
 * remove.mutate();
 */
export function useApiMutation<Input, Output = unknown>(
  change: (api: Api, input: Input) => Promise<Output>,
  onDone?: (output: Output, input: Input) => unknown,
): UseMutationResult<Output, ApiError, Input> {
  const api = useApi();
  const client = useQueryClient();
  return useMutation<Output, ApiError, Input>({
    mutationFn: (input) => change(api, input),
    onSuccess: (output, input) => onDone?.(output, input),
    onSettled: () => {
      // Not awaited: the form closes now, the lists follow.
      void client.invalidateQueries({ queryKey: ['api'] });
    },
  });
}
