/** The posthorn: mouthpiece, one coil, the bell. Beside the name, which says what it is. */
export function Mark({ className = 'size-6' }: { className?: string }) {
  return (
    <svg
      viewBox="0 0 32 32"
      className={`text-brass shrink-0 ${className}`}
      fill="none"
      stroke="currentColor"
      strokeWidth="2.4"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
    >
      <circle cx="13.500" cy="17.500" r="7" />
      <path d="M3 10.500h10.500" />
      <path d="M13.500 10.500c5.500 0 9.500-1.800 14.500-5.500v13c-3.200-2.400-5.300-3.700-7.600-4.400" />
      <path d="M3 8.500v4" />
    </svg>
  );
}
