/** Pages of a list by cursor. The cursor lives in the URL, so that a reload and the browser's Back lead where they should. */
import { useRouter } from '@tanstack/react-router';

import { Button } from './button.tsx';

interface PagerProps {
  /** The cursor of the page that is shown; undefined on the newest. */
  cursor: string | undefined;
  next: string | null;
  /** Goes to a page; undefined is the newest. */
  onGo(cursor: string | undefined): void;
}

export function Pager({ cursor, next, onGo }: PagerProps) {
  const router = useRouter();
  if (cursor === undefined && next === null) return null;
  return (
    <nav aria-label="Pages" className="mt-3 flex items-center justify-end gap-2">
      {cursor !== undefined && (
        <>
          <Button small onClick={() => onGo(undefined)}>
            Newest
          </Button>
          <Button small onClick={() => router.history.back()}>
            Back
          </Button>
        </>
      )}
      <Button small disabled={next === null} onClick={() => next !== null && onGo(next)}>
        Older
      </Button>
    </nav>
  );
}
